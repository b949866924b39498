"""What `trimtab explain` tells: decisions, what they were made of, and what became of them."""
