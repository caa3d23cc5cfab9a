"""Progress lines on standard output."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """Write a line at once, so that several processes can report side by side."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
