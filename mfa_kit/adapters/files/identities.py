"""Reads, creates and re-encrypts identities: the private keys of age, SSH and age plugins that decrypt backups.

The format of age identities is described at age-encryption.org/v1, and the format of plugin identities in C2SP's
age-plugin.md.

The identity of this computer is a file that is encrypted with a passphrase, beside a file with its public key. The name
of the identity file contains the public key too. But a file can be renamed, and backups that are encrypted to a wrong
key are lost. So mfa-kit writes the public key file only after it has decrypted a test message with the identity.
"""

import codecs
import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import pyrage

from mfa_kit.adapters.files.age_calls import contain_panics, without_armor, without_stderr
from mfa_kit.adapters.files.plugins import NO_PLUGINS, Identity, Plugins
from mfa_kit.adapters.files.private_files import LARGEST, MAGIC, faults_of, hold, reason_of, write_new
from mfa_kit.adapters.files.recipients import parse_recipients
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import is_private_key
from mfa_kit.disk import files
from mfa_kit.disk.files import fault_of_owner, open_plain_folder

# The maximum length of the header of a file that is encrypted with a passphrase. age writes about 150 octets.
LONGEST_HEADER = 4096
OF_PLUGIN = "AGE-PLUGIN-"
# A function that asks the user for the passphrase of an identity file.
Ask = Callable[[Path], Secret[str]]
# A function that returns an SSH private key without its passphrase in OpenSSH's format. It returns None if the
# passphrase is wrong. The passphrase is None for a key that has none.
UnlockSsh = Callable[[Secret[bytes], Secret[str] | None], Secret[bytes] | None]
# The first line of a private key in PKCS#8 (RFC 5958) without a passphrase, which pyrage does not read.
PKCS8 = b"-----BEGIN PRIVATE KEY-----"
# The largest scrypt work factor that mfa-kit accepts: the base-2 logarithm of the cost (age-encryption.org/v1, "The
# scrypt recipient type"). age itself uses 18. Each increment doubles the time and the memory. 20 takes a gigabyte.
MOST_WORK = 20
SCRYPT = re.compile(rb"^-> scrypt \S+ (\d+)$", re.MULTILINE)


class WrongPassphrase(UsageFault):
    """The passphrase does not decrypt the file."""


def read_identities(
    files: Iterable[Path],
    ask: Ask | None = None,
    *,
    retry: Callable[[Path], bool] = lambda _: False,
    plugins: Plugins = NO_PLUGINS,
    unlock_ssh: UnlockSsh | None = None,
) -> Secret[list[Identity]]:
    """Read identity files. A file has one SSH private key, or age identities, one per line.

    An age identity is `AGE-SECRET-KEY-1…`, or `AGE-PLUGIN-NAME-1…` for one of `plugins`. `ask` returns the passphrase
    of an encrypted file. After a wrong passphrase, `retry` returns whether to ask again. `unlock_ssh` opens SSH keys
    that have a passphrase or are PKCS#8. If `unlock_ssh` is None, these keys are refused. Raise UsageFault for a file
    that cannot be used, or whose plugin must not run.
    """
    return Secret([identity for file in files for identity in _identities(file, ask, retry, plugins, unlock_ssh)])


def _identities(
    file: Path, ask: Ask | None, retry: Callable[[Path], bool], plugins: Plugins, unlock_ssh: UnlockSsh | None
) -> list[Identity]:
    text = _text(file, ask, retry)
    unusable = UsageFault(
        f"{file} contains no usable identity", "give a file made by age-keygen, or an SSH private key"
    )
    with without_stderr(), contain_panics(unusable):
        locked = _is_locked_ssh_key(text)
    if locked:
        text = _unlocked(file, text, ask, retry, unlock_ssh)
    with without_stderr(), contain_panics(unusable):
        identities = _parse_identities(file, text, plugins, unlock_ssh)
    if not identities:
        raise unusable
    return identities


def _parse_identities(
    file: Path, text: Secret[bytes], plugins: Plugins, unlock_ssh: UnlockSsh | None
) -> list[Identity]:
    try:
        if unlock_ssh and PKCS8 in text.reveal():
            text = unlock_ssh(text, None) or text
        if b"PRIVATE KEY-----" in text.reveal():
            return [pyrage.ssh.Identity.from_buffer(text.reveal())]
        lines = [
            Secret(line.reveal().strip())
            for line in map(Secret, text.reveal().decode().splitlines())
            if line.reveal().strip() and not line.reveal().startswith("#")
        ]
        of_plugins = [line for line in lines if line.reveal().startswith(OF_PLUGIN)]
        of_age = [line for line in lines if not line.reveal().startswith(OF_PLUGIN)]
        return [
            *(pyrage.x25519.Identity.from_str(line.reveal()) for line in of_age),
            *plugins.identities(of_plugins, where=f"the identity in {file}"),
        ]
    except (pyrage.IdentityError, UnicodeDecodeError):
        return []


def _text(file: Path, ask: Ask | None, retry: Callable[[Path], bool]) -> Secret[bytes]:
    """Return the content of an identity file, decrypted if it has a passphrase."""
    try:
        with file.open("rb") as opened:
            text = Secret(opened.read(LARGEST + 1))
    except OSError as error:
        if is_private_key(str(file)):
            raise UsageFault(
                "a private key was given instead of the name of its file",
                "write it to a file that only you can read, and name the file",
            ) from None
        raise UsageFault(
            f"the identity file {file} cannot be read: {reason_of(error)}", "name a file that you can read: -i FILE"
        ) from None
    if text.reveal().startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UsageFault(
            f"{file} begins with a byte order mark, so neither mfa-kit nor age can read it",
            "save it as UTF-8 without a byte order mark",
        )
    if not (ask and without_armor(text).reveal().startswith(MAGIC)):
        return text
    _check_work(file, text)
    while True:
        try:
            return _decrypt_with_passphrase(file, text, ask(file))
        except WrongPassphrase:
            if not retry(file):
                raise


def _check_work(file: Path, sealed: Secret[bytes]) -> None:
    """Raise UsageFault if trying a passphrase on this file would take gigabytes of memory, or hours."""
    match = SCRYPT.search(without_armor(sealed).reveal()[:LONGEST_HEADER])
    if match and (len(match[1]) > 2 or int(match[1]) > MOST_WORK):  # noqa: PLR2004 - digits
        raise UsageFault(
            f"the passphrase of {file} has a scrypt work factor above {MOST_WORK}",
            "encrypt the identity again with age's default factor: age -p",
        )


def _decrypt_with_passphrase(file: Path, sealed: Secret[bytes], passphrase: Secret[str]) -> Secret[bytes]:
    """Decrypt a file with a passphrase.

    Raise WrongPassphrase if the passphrase is wrong or the file is damaged. The two cases cannot be distinguished.
    """
    wrong = WrongPassphrase(f"wrong passphrase for {file}", "repeat the command, and type the passphrase again")
    try:
        with contain_panics(wrong):
            return Secret(pyrage.passphrase.decrypt(without_armor(sealed).reveal(), passphrase.reveal()))
    except pyrage.DecryptError:
        raise wrong from None


def _is_locked_ssh_key(text: Secret[bytes]) -> bool:
    """Return whether a text is an SSH private key that is encrypted with a passphrase."""
    if b"PRIVATE KEY-----" not in text.reveal():
        return False
    try:
        pyrage.ssh.Identity.from_buffer(text.reveal())
    except pyrage.IdentityError as error:
        return any(word in str(error) for word in ("decrypted", "EncryptedPem"))
    return False


def _unlocked(
    file: Path, text: Secret[bytes], ask: Ask | None, retry: Callable[[Path], bool], unlock_ssh: UnlockSsh | None
) -> Secret[bytes]:
    """Decrypt an SSH private key with a passphrase from `ask`. Return the decrypted key.

    Raise WrongPassphrase if the last try fails, and UsageFault if `ask` or `unlock_ssh` is None.
    """
    if ask is None or unlock_ssh is None:
        raise UsageFault(
            f"{file} is an SSH key with a passphrase, and this command cannot ask for the passphrase",
            f"give another identity, or decrypt the backup with age: age -d -i {quote(str(file))} BACKUP",
        )
    while (key := unlock_ssh(text, ask(file))) is None:
        if not retry(file):
            raise WrongPassphrase(f"wrong passphrase for {file}", "repeat the command, and type the passphrase again")
    return key


def recipients_of(keys: Secret[list[Identity]]) -> list[str | None]:
    """Return the recipient of each identity. For SSH keys and plugins it is None, because pyrage does not return it."""
    return [str(key.to_public()) if isinstance(key, pyrage.x25519.Identity) else None for key in keys.reveal()]


def split_by_recipients(
    keys: Secret[list[Identity]], recipients: Iterable[str]
) -> tuple[Secret[list[Identity]], Secret[list[Identity]] | None]:
    """Split identities into the old ones and the new ones. A new identity belongs to one of `recipients`.

    SSH keys and plugins count as old, because pyrage does not return their public keys. Return the old and the new
    identities. If none is old, the first result has all identities, because the caller always needs identities to
    decrypt with. If none is new, the second result is None.
    """
    texts, own = frozenset(recipients), recipients_of(keys)
    others = Secret([key for key, text in zip(keys.reveal(), own, strict=True) if text not in texts])
    theirs = Secret([key for key, text in zip(keys.reveal(), own, strict=True) if text in texts])
    return others if others.reveal() else keys, theirs if theirs.reveal() else None


class NewIdentity:
    """A new X25519 identity. Use `text`, the unencrypted private key, only in a letter on paper for a custodian."""

    def __init__(self) -> None:
        self._identity = Secret(pyrage.x25519.Identity.generate())
        self.recipient = str(self._identity.reveal().to_public())

    @property
    def text(self) -> Secret[str]:
        """The unencrypted private key as one line: `AGE-SECRET-KEY-1...`."""
        return Secret(str(self._identity.reveal()))

    def encrypted(self, passphrase: Secret[str]) -> bytes:
        """Return the content of an encrypted identity file, in the format of `age-keygen | age -p`."""
        text = Secret(f"# public key: {self.recipient}\n{self._identity.reveal()}\n".encode())
        return pyrage.passphrase.encrypt(text.reveal(), passphrase.reveal())


@dataclass(frozen=True, slots=True)
class UnlockedIdentity:
    """An identity file with a passphrase: its encrypted content (`whole`) and its decrypted content (`text`)."""

    file: Path
    whole: Secret[bytes]
    text: Secret[bytes]

    def reencrypt(self, passphrase: Secret[str]) -> None:
        """Encrypt the identity with a new passphrase, and replace its file. Raise IntegrityFault if that fails."""
        file = self.file
        with faults_of(file), open_plain_folder(file.parent) as folder:
            hold(folder, file.parent)  # without a lock, two processes could write the same temporary file
            now = Secret(files.read_all(os.open(file.name, files.READING, dir_fd=folder), LARGEST + 1))
            if now != self.whole:
                raise IntegrityFault(f"another process changed {file}", "repeat the command")
            sealed = pyrage.passphrase.encrypt(self.text.reveal(), passphrase.reveal())
            partial = files.partial_name(file.name)
            with files.replacing_file(folder, file.name, sealed, partial=partial) as written:
                if Secret(pyrage.passphrase.decrypt(written, passphrase.reveal())) != self.text:
                    raise IntegrityFault(
                        f"the new version of {file} was not stored correctly, so {file} keeps its old passphrase",
                        "check the disk",
                    )


def unlock_identity(file: Path, passphrase: Secret[str]) -> UnlockedIdentity:
    """Decrypt an identity file.

    Raise WrongPassphrase if the passphrase is wrong or the file is damaged, UsageFault if decryption would take too
    long, and IntegrityFault if the file cannot be read.
    """
    with faults_of(file, "read"):
        sealed = Secret(files.read_all(os.open(file, files.READING), LARGEST + 1))
    _check_work(file, sealed)
    return UnlockedIdentity(file, sealed, _decrypt_with_passphrase(file, sealed, passphrase))


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
    return parse_recipients([text], source=f"in {public_key_file(file)},")[0].text


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
    sealed = pyrage.encrypt(TEST, [parsed_recipient.key for parsed_recipient in parse_recipients([recipient])])
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
        opened = os.open(file, files.READING)
    except FileNotFoundError:
        raise
    except OSError:
        with faults_of(file, "read"):
            raise
    status = os.fstat(opened)
    content = files.read_all(opened, LARGEST + 1)
    fault = fault_of_owner(file, status) or fault_of_owner(file.parent, file.parent.stat())
    if fault or not stat.S_ISREG(status.st_mode):
        aside = f"mv {quote(str(file))} {quote(f'{file}.other')}"
        raise UsageFault(*(fault or (f"{file} is not a regular file", f"move it away: {aside}")))
    return content
