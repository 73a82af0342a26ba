"""The three reasons that the study guessed for its result, put to the test."""
