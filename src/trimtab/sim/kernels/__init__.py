"""Machine code that several kinds of endpoint share: the queue, fleets of replicas, heaps, and what they count with."""
