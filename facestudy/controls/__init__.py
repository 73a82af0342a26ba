"""What would show that a result is not about the manipulation."""
