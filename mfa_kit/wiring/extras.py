"""The command that installs an extra of mfa-kit on this computer."""

import sys
from pathlib import Path
from shlex import quote


def command_for_extra(extra: str) -> str:
    """Return the command that adds an extra to this installation.

    pipx and uv install a program into an environment of its own, which has no pip. A file in the environment shows
    which of the two created it.
    """
    place = Path(sys.prefix)
    if (place / "pipx_metadata.json").exists():
        installer = f"pipx runpip {quote(place.name)} install"
    elif (place / "uv-receipt.toml").exists():
        installer = f"uv pip install --python {quote(str(place))}"
    else:
        installer = "pip install"
    return f"{installer} 'mfa-kit[{extra}]'"
