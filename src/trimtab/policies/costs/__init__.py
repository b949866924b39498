"""What the time of replicas costs, and what each second of it was for. Pure."""
