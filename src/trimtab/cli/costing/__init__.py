"""What `trimtab cost` prints."""
