"""What a request's head says, beyond what the parser checks."""

from __future__ import annotations

from trimtab.aws.server.exchange import Exchange


def ambiguous(exchange: Exchange) -> tuple[int, str] | None:
    """Why two readers of this head could take it differently (RFC 9112, 3.2 and 6.1); None when they could not."""
    fields = exchange.fields
    if len(fields) == len(exchange.headers) and b"transfer-encoding" not in fields:
        return None
    if sum(name.lower() == b"host" for name, _ in exchange.headers) > 1:
        return 400, "The request has more than one Host field."
    coding = fields.get(b"transfer-encoding", b"chunked").strip().lower()
    if coding != b"chunked":
        status = 501 if coding.endswith(b"chunked") else 400
        return status, "The only transfer coding that this server knows is chunked."
    return None


def origin_form(target: bytes) -> bytes:
    """`http://host/path` (as to a proxy) to `/path`; anything else unchanged."""
    _, scheme, rest = target.partition(b"://")
    return b"/" + rest.partition(b"/")[2] if scheme else target
