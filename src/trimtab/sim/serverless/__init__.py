"""Serverless endpoints: environments, how long they are kept, and rivals to compare with."""
