"""The cost ledger: accrues what replicas cost, durably and exactly once, and answers what was spent."""
