"""AWS's request signatures, verified: on hashlib and hmac alone, so that a gateway stays small and quick."""
