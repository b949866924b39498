"""The nouns and their lifecycles. Frozen structs; snake_case; no ARNs, no AWS shapes, no I/O."""
