"""The indexes of queues, which both databases have: the everyday statements name them."""

from __future__ import annotations

from typing import Final, LiteralString

INDEXES: Final[LiteralString] = """
CREATE INDEX ready ON messages (queue, grp, seq) WHERE state = 0 AND visible_s = 0;
CREATE INDEX alive ON messages (queue, grp, seq) WHERE state < 2;
CREATE INDEX dead ON messages (queue, seq) WHERE state = 2;
CREATE INDEX delayed ON messages (visible_s) WHERE state = 0 AND visible_s > 0;
CREATE INDEX leases_by_owner ON messages (owner) WHERE state = 1;
CREATE INDEX leases_by_ask ON messages (ask) WHERE state = 1;
CREATE INDEX leases_by_end ON messages (until_s) WHERE state = 1;
CREATE INDEX by_expiry ON messages (expires_s) WHERE expires_s > 0 AND state = 0 AND expired = 0;
CREATE INDEX expired ON messages (queue, seq) WHERE state = 0 AND visible_s = 0 AND expired = 1;
CREATE INDEX ended_by_time ON ended (at_s);
CREATE INDEX once_by_time ON once (at_s);
CREATE INDEX groups_by_turn ON groups (queue, turn);
"""
