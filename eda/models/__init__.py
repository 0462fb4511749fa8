"""Manual routability models to compare with: hand-made networks of the literature."""
