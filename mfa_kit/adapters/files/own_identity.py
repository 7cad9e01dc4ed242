"""The identity of this computer: a file that is encrypted with a passphrase, and a file with its public key.

The name of the identity file contains the public key too. But a file can be renamed, and backups that are encrypted to
a wrong key are lost. So mfa-kit writes the public key file only after it has decrypted a test message with the
identity.
"""

import os
import stat
from pathlib import Path
from shlex import quote

import pyrage

from mfa_kit.adapters.files.identities import NewIdentity, read_identities, recipients_of
from mfa_kit.adapters.files.plugins import Identity
from mfa_kit.adapters.files.private_files import LARGEST, faults_of, write_new
from mfa_kit.adapters.files.recipients import parse_recipients
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.otp import Secret
from mfa_kit.disk import whole_files
from mfa_kit.disk.ownership import fault_of_owner

PREFIX = "identity-"
# The message with which an identity is tested.
TEST = b"a message to this computer's own identity"


def own_identities(home: Path) -> list[Path]:
    """Return the paths of this computer's identity files, which are in the folder `home`."""
    return sorted(home.glob(f"{PREFIX}age1*.age"))


def recipient_in_name(file: Path) -> str:
    """Return the recipient in the name of an identity file. The content of the file is not checked."""
    return file.stem.removeprefix(PREFIX)


def unused_recipient() -> str:
    """Create an identity for a dry run, do not save it, and return its recipient."""
    return NewIdentity().recipient


def public_key_file(file: Path) -> Path:
    """Return the path of the public key file that belongs to an identity file."""
    return file.with_suffix(".pub")


def create_own_identity(home: Path, passphrase: Secret[str]) -> tuple[Path, str]:
    """Create an identity, write its files and test it (see `prove`). Return the identity file and the recipient."""
    identity = NewIdentity()
    file = home / f"{PREFIX}{identity.recipient}.age"
    write_new(file, identity.encrypted(passphrase))
    return file, prove(file, passphrase)


def proven_recipient(file: Path) -> str | None:
    """Return the recipient of an identity file, or None if the file has no public key file and so was never tested.

    Raise UsageFault if other users could have written one of the two files, or if the public key is not the one in the
    identity file's name.
    """
    _read_ours(file)
    try:
        text = _read_ours(public_key_file(file)).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    if text != recipient_in_name(file):
        raise UsageFault(
            f"{public_key_file(file)} is not the public key of {file}",
            f"remove it, and repeat the command: rm {quote(str(public_key_file(file)))}",
        )
    return parse_recipients([text], given=f"in {public_key_file(file)},")[0].text


def prove(file: Path, passphrase: Secret[str]) -> str:
    """Test that an identity file decrypts a message to the recipient in its name, and return this recipient.

    If the test succeeds, write the public key file, unless it exists. Raise UsageFault for a wrong passphrase, and
    IntegrityFault if the file contains another identity.
    """
    _read_ours(file)
    keys = read_identities([file], lambda _: passphrase)
    claimed = recipient_in_name(file)
    if recipients_of(keys) != [claimed] or not _opens(claimed, keys):
        raise IntegrityFault(
            f"{file} cannot decrypt messages to {claimed}, the public key in its name",
            "move the file away; mfa-kit then creates a new identity",
        )
    public = public_key_file(file)
    if not os.path.lexists(public):
        write_new(public, f"{claimed}\n".encode())
    return claimed


def _opens(recipient: str, keys: Secret[list[Identity]]) -> bool:
    sealed = pyrage.encrypt(TEST, [each.key for each in parse_recipients([recipient])])
    try:
        return pyrage.decrypt(sealed, keys.reveal()) == TEST
    except pyrage.DecryptError:
        return False


def _read_ours(file: Path) -> bytes:
    """Return the content of a file that only this user and root can change.

    Raise UsageFault if other users can change it, IntegrityFault if it cannot be read, and FileNotFoundError if it is
    missing.
    """
    try:
        opened = os.open(file, whole_files.READING)
    except FileNotFoundError:
        raise
    except OSError:
        with faults_of(file, "read"):
            raise
    status = os.fstat(opened)
    content = whole_files.read_all(opened, LARGEST + 1)
    fault = fault_of_owner(file, status) or fault_of_owner(file.parent, file.parent.stat())
    if fault or not stat.S_ISREG(status.st_mode):
        aside = f"mv {quote(str(file))} {quote(f'{file}.other')}"
        raise UsageFault(*(fault or (f"{file} is not a regular file", f"move it away: {aside}")))
    return content
