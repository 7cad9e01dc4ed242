"""Passphrases that cost a process milliseconds: age takes the least work that lasts a second, and times that itself.

The product has no option for it, so the clock that pyrage looks at is another one (cheap_scrypt.c). A full run has the
real work.
"""

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tests.sizes import FULL

SOURCE = Path(__file__).with_suffix(".c")


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="mfa-kit-scrypt-")


@cache
def cheap_scrypt() -> dict[str, str]:
    """Return the variable for the environment of a process; none in a full run, and none without a compiler."""
    compiler = shutil.which("gcc")
    if FULL or not compiler:
        return {}
    built = Path(_folder().name) / "cheap_scrypt.so"
    built.parent.chmod(0o755)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-w", "-o", built, SOURCE, "-ldl"], check=True)
    return {"LD_PRELOAD": str(built)}
