"""What an AWS account spends on inference without need: read it (`reading`), look for faults (`findings`), say so."""
