"""Tasks: what networks are trained for. Built-in data sets are registered under ``graphnas.tasks``."""
