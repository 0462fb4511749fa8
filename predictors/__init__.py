"""Models that learn from architecture graphs."""
