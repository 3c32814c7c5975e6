"""The steps that are on, and every unit through them."""
