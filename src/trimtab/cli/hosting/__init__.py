"""What `trimtab models` shows: models of a multi-model endpoint, where they are, what they did and what they cost."""
