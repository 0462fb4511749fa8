"""graphnas: neural architecture search in which every architecture is a graph."""
