"""Pure decisions. No I/O, no clock, no randomness of their own: all of it comes in as arguments."""
