"""Test faces that are altered before they are cropped: misplaced crops, pictures of less quality, composites."""
