"""Data plane: admit -> route -> send -> stream back."""
