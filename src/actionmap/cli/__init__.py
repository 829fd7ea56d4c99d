"""`actionmap …`: errors on standard error; exit code 0 = yes, 1 = the answer is no, 2 = it could not be asked."""

from actionmap.cli.app import main

__all__ = ["main"]
