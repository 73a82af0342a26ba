"""Turning figures into text, pictures and pages."""
