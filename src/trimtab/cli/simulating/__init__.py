"""What `trimtab simulate` runs, prints and draws."""
