"""`trimtab VERB`: one verb per file."""
