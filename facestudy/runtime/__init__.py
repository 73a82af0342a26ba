"""How work is run: processes, caches, the library under Keras."""
