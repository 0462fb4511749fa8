"""Benchmark tables: recorded results of every architecture of a space."""
