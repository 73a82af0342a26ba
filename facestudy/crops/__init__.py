"""What a model gets to see of a face."""
