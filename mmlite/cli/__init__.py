"""The command `mmlite`: open, run, build and release lessons; grade a class; train a recipe.

A file holds a command: how it is asked for, and what it does. `command_line` puts them together.
"""

from mmlite.cli.command_line import main

__all__ = ["main"]
