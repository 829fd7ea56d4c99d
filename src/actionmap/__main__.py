"""`python -m actionmap` is the command `actionmap`."""

from actionmap.cli import main

main()
