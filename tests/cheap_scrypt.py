"""Passphrases that cost a process milliseconds: age takes the least work that lasts a second, and times that itself.

The product has no option for it, so the clock that pyrage looks at is another one (cheap_scrypt.c). A full run has the
real work.
"""

import atexit
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.sizes import FULL

SOURCE = Path(__file__).with_suffix(".c")


@cache
def cheap_scrypt() -> dict[str, str]:
    """Return the variable for a process's environment. It is empty in a full run, or without a compiler."""
    compiler = shutil.which("gcc")
    if FULL or not compiler:
        return {}
    folder = Path(tempfile.mkdtemp(prefix="mfa-kit-scrypt-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    built = folder / "cheap_scrypt.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-w", "-o", built, SOURCE, "-ldl"], check=True)
    return {"LD_PRELOAD": str(built)}


SEAL = """
import sys, pyrage
passphrase, _, text = sys.stdin.buffer.read().partition(b"\\0")
sys.stdout.buffer.write(pyrage.passphrase.encrypt(text, passphrase.decode()))
"""


def seal(text: bytes, passphrase: str) -> bytes:
    """Encrypt a text with a passphrase, in a process that has the cheap scrypt."""
    given = passphrase.encode() + b"\0" + text
    return subprocess.run(
        [sys.executable, "-c", SEAL], input=given, env=cheap_scrypt(), stdout=subprocess.PIPE, check=True
    ).stdout
