"""Serverless variants: environments (replicas that take one request at a time) started and ended on demand."""
