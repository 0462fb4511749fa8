"""The search spaces that ship with graphnas, one file each."""
