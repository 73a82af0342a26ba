"""A local page for one clip: what the detectors see and say, for people who do not use a terminal."""
