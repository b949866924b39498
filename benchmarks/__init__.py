"""Programs that measure trimtab: `make bench` runs them all."""
