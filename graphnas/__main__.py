"""``python -m graphnas``."""

from graphnas.cli import main

main()
