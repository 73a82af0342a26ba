"""What all packages share: errors, settings, tables, the canonical face."""
