"""Replicas as processes of this machine: forked from the nursery, or any program or image with AWS's contract."""
