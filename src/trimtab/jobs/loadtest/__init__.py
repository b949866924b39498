"""An open-loop load test: requests leave when they are due, and latency counts from then, whatever the server does.

`Crew` (crew.py) runs a `LoadPlan` in processes of its own and gives a `Tally`; `Outcome` (outcome.py) makes figures of
it; `find_max` (find_max.py) looks for the highest rate that keeps an `Slo`. What a request looks like on the wire, and
what an answer means, comes in as a `Sender` (sender.py): this folder knows HTTP, not AWS.
"""
