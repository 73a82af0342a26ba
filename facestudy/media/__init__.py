"""Pixels in and out: videos, frames, stored pictures."""
