"""Work with an end: load tests."""
