"""Who is told of a message to a topic, and when a delivery that failed is tried again."""
