"""What fits where: how much memory a model takes, and which instance types have it, at which price."""
