"""Which faces train and which test: duplicates, groups, split."""
