"""Serverless variants: how many environments there are, and for how long one that is idle stays warm. Pure."""
