"""Formats shell commands and lists of names for results about an account."""

import shlex
from collections.abc import Sequence

# The number of names that `few` returns in full.
FEW = 5


def command(*words: str) -> str:
    """Return a command whose words are quoted for a shell where necessary."""
    return shlex.join(words)


def few(names: Sequence[str]) -> str:
    """Return the first five names and the number of the others, such as `a, b, c, d, e and 3 more`."""
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")
