"""How much scores change when the test faces are altered."""
