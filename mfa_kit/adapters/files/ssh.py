"""SSH keys: converts private keys in memory for pyrage, and signs data with `ssh-keygen -Y sign`.

pyrage reads only keys without a passphrase, and not PKCS#8.
"""

import base64
import binascii
import re
import shutil
import subprocess
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import Message, command
from mfa_kit.core.otp import Secret

OPENSSH = re.compile(rb"-----BEGIN OPENSSH PRIVATE KEY-----(.*?)-----END OPENSSH PRIVATE KEY-----", re.DOTALL)
MAGIC = b"openssh-key-v1\0"
# The maximum number of bcrypt rounds for a passphrase (OpenSSH, PROTOCOL.key). ssh-keygen uses 16 or 24. 16 rounds take
# a tenth of a second.
MOST_ROUNDS = 1024


def unlock_ssh_key(text: Secret[bytes], passphrase: Secret[str] | None) -> Secret[bytes] | None:
    """Return an SSH private key without its passphrase. Return None if the passphrase is wrong or the key is damaged.

    The passphrase is None for a key that has none. Raise UsageFault if the key has more than MOST_ROUNDS bcrypt rounds,
    because a try could then take minutes.
    """
    match = OPENSSH.search(text.reveal())
    if match and _rounds(Secret(match[1])) > MOST_ROUNDS:
        raise UsageFault(
            f"the passphrase of this SSH key has more than {MOST_ROUNDS} bcrypt rounds",
            Message("give the key a passphrase with fewer rounds", command("ssh-keygen -p -a 100 -f FILE")),
        )
    load = load_ssh_private_key if match else load_pem_private_key
    try:
        key = load(text.reveal(), passphrase.reveal().encode() if passphrase else None)
        return Secret(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _rounds(encoded: Secret[bytes]) -> int:
    """Return the number of bcrypt rounds in an OpenSSH key, or 0 if the key is damaged."""
    try:
        start = base64.b64decode(b"".join(encoded.reveal().split()))
    except binascii.Error:
        return 0
    position, parts = len(MAGIC), list[bytes]()
    for _ in range(3):  # the cipher's name, and the name and options of the key derivation function
        size = int.from_bytes(start[position : position + 4])
        parts.append(start[position + 4 : position + 4 + size])
        position += 4 + size
    return int.from_bytes(parts[2][-4:])


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
        error_lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise UsageFault(f"ssh-keygen did not sign: {error_lines[-1] if error_lines else 'no reason given'}", HINT)
    return done.stdout
