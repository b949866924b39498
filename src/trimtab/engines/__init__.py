"""Make replicas run somewhere. An engine runs replicas, never tokens."""
