"""A score for one clip: its faces, the detectors, what they say and what that is worth."""
