"""Formats shell commands and lists of names for results about an account."""

import shlex
from collections.abc import Sequence

# How many names to print on one line.
FEW = 5


def command(*words: str) -> str:
    """Return a command quoted for a shell, whatever characters its words contain."""
    return shlex.join(words)


def few(names: Sequence[str]) -> str:
    """Return the first five names and the number of the others, such as `a, b, c, d, e and 3 more`."""
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")
