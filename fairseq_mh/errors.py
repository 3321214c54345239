"""What a user's mistake raises, and what it must not leave behind."""

from pathlib import Path

half_written: list[Path] = []  # what this process has begun to write, and a refused run must not leave behind


class UserError(Exception):
    """What the user asked for cannot be done; the message says why and what to do."""
