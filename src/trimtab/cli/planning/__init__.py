"""What `trimtab plan` reads and shows."""
