"""The command line, `dreamaudio COMMAND`; one module a command, or `cli.py` of a room."""

from .main import main

__all__ = ["main"]
