"""What passes between the processes: frames to a worker, the routing table to a gateway."""
