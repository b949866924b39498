"""One module for each server: what it needs, how it is started, what it is sent, and what it does not do."""
