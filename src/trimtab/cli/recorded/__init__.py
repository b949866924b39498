"""What `trimtab record` finds out of an endpoint, and the scenario that it writes of that."""
