"""Which architecture would serve a set of workloads for the least money, and what it saves."""
