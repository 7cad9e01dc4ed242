"""Identities, the secret keys that open backups: of age (age-encryption.org/v1) and of SSH."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pyrage

from mfa_kit.adapters.files.private_files import faults_of, hold, reason_of
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.otp import Secret
from mfa_kit.disk import whole_files
from mfa_kit.disk.folders import open_plain_folder

MAGIC = b"age-encryption.org/v1"
# A sealed identity or QR code is some kilobytes; a megabyte is none of ours.
LARGEST = 1 << 20

Identity = pyrage.x25519.Identity | pyrage.ssh.Identity
Ask = Callable[[Path], Secret[str]]


def read_identities(files: Iterable[Path], ask: Ask | None = None) -> Secret[list[Identity]]:
    """Read identity files: `AGE-SECRET-KEY-1…` lines, or one SSH private key without a passphrase.

    A file of the former that is sealed by a passphrase is opened with the one that `ask` gives. Raise UsageFault.
    """
    return Secret([identity for file in files for identity in _identities(file, ask)])


def _identities(file: Path, ask: Ask | None) -> list[Identity]:
    text = _text(file, ask)
    try:
        if b"PRIVATE KEY-----" in text.reveal():
            return [_ssh(file, text)]
        found: list[Identity] = [
            pyrage.x25519.Identity.from_str(line.reveal().strip())
            for line in map(Secret, text.reveal().decode().splitlines())
            if line.reveal().strip() and not line.reveal().startswith("#")
        ]
    except (pyrage.IdentityError, UnicodeDecodeError):
        found = []
    if not found:
        raise UsageFault(
            f"{file} holds no identity that can be used",
            "give a file of age-keygen, or an SSH private key without a passphrase",
        )
    return found


def _text(file: Path, ask: Ask | None) -> Secret[bytes]:
    try:
        text = Secret(file.read_bytes())
    except OSError as error:
        raise UsageFault(
            f"the identity file {file} cannot be read: {reason_of(error)}", "name one that you can read: -i FILE"
        ) from None
    if ask and text.reveal().startswith(MAGIC):
        try:
            return Secret(pyrage.passphrase.decrypt(text.reveal(), ask(file).reveal()))
        except pyrage.DecryptError:
            raise _wrong_passphrase(file) from None
    return text


def _ssh(file: Path, text: Secret[bytes]) -> Identity:
    try:
        return pyrage.ssh.Identity.from_buffer(text.reveal())
    except pyrage.IdentityError as error:
        if not any(word in str(error) for word in ("decrypted", "EncryptedPem")):
            raise
    raise UsageFault(
        f"{file} is an SSH key with a passphrase, which is not asked for here",
        f"give another identity, or open the backup with age itself: age -d -i {file} BACKUP",
    )


def recipients_of(keys: Secret[list[Identity]]) -> list[str | None]:
    """Return each identity's recipient; None for an SSH key, which does not tell whose it is."""
    return [str(key.to_public()) if isinstance(key, pyrage.x25519.Identity) else None for key in keys.reveal()]


def split_by_recipients(
    keys: Secret[list[Identity]], recipients: Iterable[str]
) -> tuple[Secret[list[Identity]], Secret[list[Identity]] | None]:
    """Return the identities that are none of these recipients', or all where each is, and those that are, if any is."""
    texts, own = frozenset(recipients), recipients_of(keys)
    others = Secret([key for key, text in zip(keys.reveal(), own, strict=True) if text not in texts])
    theirs = Secret([key for key, text in zip(keys.reveal(), own, strict=True) if text in texts])
    return others if others.reveal() else keys, theirs if theirs.reveal() else None


class NewIdentity:
    """A new X25519 identity, which leaves this object sealed only."""

    def __init__(self) -> None:
        self._identity = Secret(pyrage.x25519.Identity.generate())
        self.recipient = str(self._identity.reveal().to_public())

    def encrypted(self, passphrase: Secret[str]) -> bytes:
        """Return the file that `age-keygen | age -p` would give."""
        text = Secret(f"# public key: {self.recipient}\n{self._identity.reveal()}\n".encode())
        return pyrage.passphrase.encrypt(text.reveal(), passphrase.reveal())


def reencrypt_identity(file: Path, before: Secret[str], after: Secret[str]) -> None:
    """Seal a passphrase's identity by another passphrase, in its place. Raise UsageFault, IntegrityFault."""
    with faults_of(file), open_plain_folder(file.parent) as folder:
        hold(folder, file.parent)  # two that write beside it at once would take each other's for their own
        whole = whole_files.read_all(os.open(file.name, whole_files.READING, dir_fd=folder), LARGEST + 1)
        try:
            text = Secret(pyrage.passphrase.decrypt(whole, before.reveal()))
        except pyrage.DecryptError:
            raise _wrong_passphrase(file) from None
        sealed = pyrage.passphrase.encrypt(text.reveal(), after.reveal())
        partial = whole_files.partial_name(file.name)
        with whole_files.replacing_file(folder, file.name, sealed, partial=partial) as written:
            if Secret(pyrage.passphrase.decrypt(written, after.reveal())) != text:
                raise IntegrityFault(f"{file} does not read back as it was written", "check the disk")


def _wrong_passphrase(file: Path) -> UsageFault:
    return UsageFault(f"this passphrase does not open {file}", "try again")
