"""Numbers over time: sketches of values, series of sketches, and the names that they are published under."""
