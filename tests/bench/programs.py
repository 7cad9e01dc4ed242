"""Programs that a bench compares mfa-kit with. Each is installed from PyPI into a virtual environment of its own."""

import os
import subprocess
import venv
from pathlib import Path


def other_program(program: str, *packages: str) -> str:
    """Return the path of a program in the environment of its packages, which is created when it does not exist."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    place = cache / "mfa-kit" / f"bench-{packages[-1]}"
    found = place / "bin" / program
    if not found.exists():
        venv.create(place, with_pip=True, clear=True)
        subprocess.run([place / "bin" / "pip", "install", "--quiet", *packages], check=True)
    return str(found)


def aws() -> str:
    """Return the path of the AWS CLI."""
    return other_program("aws", "awscli")


def c7n_org() -> str:
    """Return the path of c7n-org, of Cloud Custodian."""
    return other_program("c7n-org", "c7n", "c7n-org")
