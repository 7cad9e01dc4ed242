"""Words that the results about an account share: commands for a shell, and lists of names."""

import shlex
from collections.abc import Sequence

# Names on one line.
FEW = 5


def command(*words: str) -> str:
    """Return a command quoted for a shell, whatever the names in it are."""
    return shlex.join(words)


def few(names: Sequence[str]) -> str:
    """Return the first five names, and how many more there are."""
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")
