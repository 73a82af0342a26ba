"""The networks, their settings and weights."""
