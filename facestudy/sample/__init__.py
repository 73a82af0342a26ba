"""The built-in sample: people who do not exist, and their fake twins."""
