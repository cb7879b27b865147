"""The command line: one file a command; the only place with flags, printing and exit codes."""

from fpnas.cli.app import main

__all__ = ["main"]
