"""What all packages speak of: errors, settings, tables, the canonical face."""
