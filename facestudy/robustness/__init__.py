"""How trained models score test faces that are altered before they are cropped."""
