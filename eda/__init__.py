"""Chip design: placements in, routability out."""
