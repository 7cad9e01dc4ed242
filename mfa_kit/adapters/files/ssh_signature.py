"""Signs data with an SSH key, by running OpenSSH's `ssh-keygen -Y sign`."""

import shutil
import subprocess
from pathlib import Path

from mfa_kit.core.errors import UsageFault

# The namespace of signatures (OpenSSH, PROTOCOL.sshsig). `ssh-keygen -Y verify` needs the same namespace.
NAMESPACE = "mfa-kit-evidence"
HINT = "give the file of an SSH private key, or of a public key whose private key is in ssh-agent: --sign KEY"


def check_signing_key(key: Path) -> None:
    """Raise UsageFault if ssh-keygen is not installed, or if `key` is not a file. Call this before long work."""
    if shutil.which("ssh-keygen") is None:
        raise UsageFault("ssh-keygen, which signs the evidence, is not installed", "install OpenSSH's client")
    if not key.is_file():
        raise UsageFault(f"there is no file {key}", HINT)


def sign(data: bytes, key: Path) -> bytes:
    """Return the signature of `data` in OpenSSH's text format. ssh-keygen itself asks for the key's passphrase.

    Raise UsageFault if the key cannot be used, or if ssh-keygen does not sign.
    """
    check_signing_key(key)
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(key.absolute())]
    done = subprocess.run(command, input=data, capture_output=True, check=False)  # noqa: S603 - no shell
    if done.returncode or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise UsageFault(f"ssh-keygen did not sign: {said[-1] if said else 'no reason given'}", HINT)
    return done.stdout
