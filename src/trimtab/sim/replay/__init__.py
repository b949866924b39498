"""What was recorded, tried again: whether the decisions are the same, and what other rules would have made of it."""
