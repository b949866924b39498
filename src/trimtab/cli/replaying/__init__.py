"""What `trimtab replay` does: fetch a record, let the reducer decide again, try policies on it, and tell."""
