"""s3://bucket/key to bytes, and artifacts unpacked safely."""
