"""Reads, creates and re-encrypts identities: the private keys of age, SSH and age plugins that decrypt backups.

Also parses recipients, which are the public keys, and encrypts a short text to them.

The format of age identities is described at age-encryption.org/v1, and the format of plugin identities in C2SP's
age-plugin.md.

The identity of this computer is a file that is encrypted with a passphrase, beside a file with its public key. The name
of the identity file contains the public key too. But a file can be renamed, and backups that are encrypted to a wrong
key are lost. So mfa-kit writes the public key file only after it has decrypted a test message with the identity.
"""

import base64
import codecs
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from shlex import quote

import pyrage

from mfa_kit.adapters.files.plugins import (
    NO_PLUGINS,
    Identity,
    Plugins,
    PublicKey,
    contain_panics,
    decrypt,
    decrypt_file,
    encrypt,
    without_armor,
    without_stderr,
)
from mfa_kit.core.errors import DeviceFault, IntegrityFault, UsageFault, WrongPassphrase
from mfa_kit.core.message import Message, command
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import encoding_of, refuse_private_key
from mfa_kit.disk import files
from mfa_kit.disk.files import LARGEST, MAGIC, fault_of_owner, faults_of, hold, open_plain_folder, reason_of, write_new

KINDS = (
    ("age1tagpq1", pyrage.tagpq.Recipient),
    ("age1tag1", pyrage.tag.Recipient),
    ("age1", pyrage.x25519.Recipient),
    ("ssh-ed25519 ", pyrage.ssh.Recipient),
    ("ssh-rsa ", pyrage.ssh.Recipient),
)
# The types of SSH keys that age supports, and the sizes of RSA keys in bits that pyrage supports.
SSH = {"ssh-ed25519", "ssh-rsa"}
RSA_BITS = range(2048, 4097)
# Matches the other types of SSH keys, such as ecdsa-sha2-nistp256 and sk-ssh-ed25519@openssh.com.
OTHER_SSH = re.compile(r"(?:ssh-dss|(?:sk-)?ecdsa-sha2-[a-z0-9-]+|sk-[a-z0-9-]+|[a-z0-9-]+-cert-v01)(?:@[a-z.]+)?")
# The prime of Ed25519 (RFC 8032), and the y coordinates of the eight points whose order divides eight.
PRIME = 2**255 - 19
_EIGHTH = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
SMALL_ORDER = {0, 1, PRIME - 1, _EIGHTH, PRIME - _EIGHTH}


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient: its public key as `text`, without a comment, and as pyrage's object `key`."""

    text: str
    key: PublicKey


def parse_recipients(
    texts: Iterable[str],
    files: Iterable[Path] = (),
    *,
    source: str = "-r",
    quoted: bool = True,
    plugins: Plugins = NO_PLUGINS,
) -> list[Recipient]:
    """Parse recipients from `texts` and from the lines of files. `source` says where the texts come from, such as "-r".

    Without `quoted`, errors do not quote a text, because it may be a private key.

    Raise UsageFault for the first text that is not a recipient, or whose plugin is not one of `plugins`. The message
    names `source`, or the file and line. Raise UsageFault also if all recipients are age1tag keys, or only some are
    age1tagpq keys. Raise DeviceFault if a plugin refuses its recipient.
    """
    recipients = [_recipient(text, plugins, where=f"{source} {text}" if quoted else source) for text in texts]
    for file in files:
        rows = _lines(file)
        recipients += [_recipient(line, plugins, where=f"line {number} of {file}", file=file) for number, line in rows]
    if recipients and all(isinstance(recipient.key, pyrage.tag.Recipient) for recipient in recipients):
        raise UsageFault(
            "every recipient is an age1tag key, and Debian's age 1.2 does not support such keys",
            "add an age1… or SSH recipient",
        )
    if len({isinstance(recipient.key, pyrage.tagpq.Recipient) for recipient in recipients}) > 1:
        raise UsageFault(
            "age does not encrypt to an age1tagpq key and another key together, because quantum computers may decrypt "
            "what is encrypted to the other one",
            "give only age1tagpq… recipients, or none",
        )
    return recipients


def _lines(file: Path) -> list[tuple[int, str]]:
    """Return the number and the text of each line of a file, without empty lines and comments.

    The file may be UTF-8 or, with a byte order mark, UTF-16. Raise UsageFault if no line remains, or if the file cannot
    be read.
    """
    try:
        octets = file.read_bytes()
        lines = octets.decode(encoding_of(octets)).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageFault(
            f"the recipients file {file} cannot be read: {reason_of(error)}", "name a file that you can read: -R FILE"
        ) from None
    rows = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    chosen = [(number, line) for number, line in rows if line and not line.startswith("#")]
    if not chosen:
        raise UsageFault(f"{file} contains no recipient", "write one per line: age1… or an SSH public key")
    return chosen


def _recipient(text: str, plugins: Plugins, *, where: str, file: Path | None = None) -> Recipient:
    """Parse a recipient. `where` says where the text comes from, and `file` is the recipients file, if any."""
    _refuse_private(text, file)
    obstacle = _ssh_obstacle(text.split())
    if obstacle or (recipient := _usable(text) or _of_plugin(text, plugins, where=where)) is None:
        if where == f"-r {text}" and _is_file(path := Path(text)):
            raise UsageFault(f"{where} is a file", _public_half(path) or f"for a file, use -R: -R {quote(text)}")
        raise UsageFault(
            f"{where} is not a recipient{obstacle and f': {obstacle}'}",
            "give an age recipient (age1…) or an SSH public key (ssh-ed25519, ssh-rsa)",
        )
    return recipient


def _refuse_private(text: str, file: Path | None) -> None:
    """Raise UsageFault for a private key in place of a recipient. `file` is as in `_recipient`."""
    if "PRIVATE KEY" in text:
        show = command("ssh-keygen -y -f {}", str(file or "FILE"))
        raise UsageFault("the recipient is a private key", _public_half(file) or Message("give its public key", show))
    if "AGE-SECRET-KEY-" in text.upper():
        show = command("age-keygen -y {}", str(file or "FILE"))
        raise UsageFault("the recipient is a private key", Message("give its public key", show))
    if "AGE-PLUGIN-" in text.upper():
        raise UsageFault(
            "the recipient is an identity of an age plugin",
            "give the recipient that belongs to it, which begins with age1 and the plugin's name",
        )


def _is_file(path: Path) -> bool:
    """Return whether there is a file. The path may be any text, also one that is too long for a path."""
    with suppress(OSError, ValueError):
        return path.is_file()
    return False


def _public_half(file: Path | None) -> str:
    """Return a hint with the public key that ssh-keygen wrote beside a private key, or "" if there is none."""
    public = file and file.with_name(f"{file.name}.pub")
    return f"give its public key, which is beside it: -R {quote(str(public))}" if public and _is_file(public) else ""


@lru_cache(maxsize=1024)
def _usable(text: str) -> Recipient | None:
    """Parse a recipient of age or SSH. Return None if the text is invalid, or no test message can be encrypted to it.

    pyrage panics for some invalid keys: X25519 points of small order, and RSA keys whose modulus is zero.
    """
    key = " ".join(text.split()[:2])  # without the comment, which may contain any text
    kind = next((kind for prefix, kind in KINDS if key.startswith(prefix)), None)
    if kind is None or not key.isascii():
        return None
    try:
        with without_stderr(), contain_panics(UsageFault("the library panicked", "give another recipient")):
            public_key = kind.from_str(key)
            pyrage.encrypt(b"test", [public_key])
    except (pyrage.RecipientError, pyrage.EncryptError, UsageFault):
        return None
    return Recipient(key, public_key)


def _of_plugin(text: str, plugins: Plugins, *, where: str) -> Recipient | None:
    """Return the recipient of a plugin (`age1NAME1...`), or None for any other text.

    Raise the errors of `Plugins.recipient`.
    """
    key = text.strip()
    if not key.startswith("age1") or key.startswith(("age1tag1", "age1tagpq1")) or not key.isascii():
        return None
    plugin_recipient = plugins.recipient(key, where=where)
    return Recipient(key, plugin_recipient) if plugin_recipient else None


def _ssh_obstacle(words: list[str]) -> str:
    """Return why the words of a text, which looks like an SSH public key, are not a recipient, or "" otherwise.

    pyrage ignores octets behind the key. They are refused, because `age -d` would not recognize the key, and a weak key
    could hide before them.
    """
    kind, encoded = [*words, "", ""][:2]
    if OTHER_SSH.fullmatch(kind):
        return f"{kind} keys cannot decrypt a file"
    if kind not in SSH:
        return "there is text before the key" if SSH & set(words) else ""
    match kind, _ssh_fields(encoded):
        case "ssh-ed25519", [b"ssh-ed25519", point] if len(point) == 32:  # noqa: PLR2004 - octets (RFC 8032, 5.1.5)
            return "anyone can decrypt what is encrypted to this weak key" if _has_small_order(point) else ""
        case "ssh-rsa", [b"ssh-rsa", _, modulus]:
            bits = int.from_bytes(modulus).bit_length()
            return "" if bits in RSA_BITS else f"it has {bits} bits, and {RSA_BITS[0]} to {RSA_BITS[-1]} are supported"
        case _:
            return "the key is damaged, was cut off, or has something behind it"


def _ssh_fields(encoded: str) -> list[bytes]:
    """Return the fields of an SSH public key, each of which follows its length in four octets (RFC 4253, 6.6).

    If the text is not base64, or a field is cut off, return an empty list.
    """
    try:
        octets = base64.b64decode(encoded, validate=True)
    except ValueError:
        return []
    fields: list[bytes] = []
    start = 0
    while start < len(octets):
        end = start + 4 + int.from_bytes(octets[start : start + 4])
        fields.append(octets[start + 4 : end])
        start = end
    return fields if start == len(octets) else []


def _has_small_order(point: bytes) -> bool:
    """Return whether a point of Ed25519 has a small order."""
    # The highest bit is the sign of x (RFC 8032, 5.1.2). A y coordinate above the prime is reduced modulo the prime.
    return (int.from_bytes(point, "little") & ~(1 << 255)) % PRIME in SMALL_ORDER


def seal_text(
    path: Path, text: Secret[str], to: Sequence[str], to_files: Sequence[Path], *, plugins: Plugins = NO_PLUGINS
) -> None:
    """Encrypt a short text into a new file. `to` and the lines of `to_files` are the recipients' public keys.

    `plugins` are the age plugins that may run for these keys. Raise UsageFault if a key is not a recipient, DeviceFault
    if a plugin fails, and IntegrityFault if the file cannot be written. No incomplete file remains.
    """
    recipients = parse_recipients(to, to_files, plugins=plugins)
    write_new(path, encrypt(Secret(text.reveal().encode()), [recipient.key for recipient in recipients]))


def open_line(path: Path, keys: Secret[list[Identity]]) -> Secret[str]:
    """Return the first line of a text that `seal_text` encrypted. Raise IntegrityFault if it cannot be decrypted."""
    with faults_of(path, "read"), path.open("rb") as file:
        sealed = Secret(file.read(LARGEST))
    text = decrypt_file(sealed, keys, where=str(path), hint="give another identity with -i")
    return Secret(text.reveal().decode(errors="replace").partition("\n")[0])


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
        of_age: list[Identity] = []
        of_plugins: list[Secret[str]] = []
        for line in map(Secret, text.reveal().decode().splitlines()):
            bare = Secret(line.reveal().strip())
            if bare.reveal().startswith(OF_PLUGIN):
                of_plugins.append(bare)
            elif bare.reveal() and not line.reveal().startswith("#"):
                of_age.append(pyrage.x25519.Identity.from_str(bare.reveal()))
        return [*of_age, *plugins.identities(of_plugins, where=f"the identity in {file}")]
    except (pyrage.IdentityError, UnicodeDecodeError):
        return []


def _text(file: Path, ask: Ask | None, retry: Callable[[Path], bool]) -> Secret[bytes]:
    """Return the content of an identity file, decrypted if it has a passphrase."""
    try:
        with file.open("rb") as opened:
            text = Secret(opened.read(LARGEST + 1))
    except OSError as error:
        refuse_private_key(str(file))
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


def encrypt_with_passphrase(content: Secret[bytes], passphrase: Secret[str]) -> bytes:
    """Encrypt with age's scrypt recipient, as `age -p` does. This takes seconds, and half a gigabyte of memory."""
    return pyrage.passphrase.encrypt(content.reveal(), passphrase.reveal())


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
        return encrypt_with_passphrase(text, passphrase)


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
            sealed = encrypt_with_passphrase(self.text, passphrase)
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
    if recipients_of(keys) != [claimed] or not opens(parse_recipients([claimed])[0], keys):
        raise IntegrityFault(
            f"{file} cannot decrypt messages to {claimed}, the public key in its name",
            "move the file away; mfa-kit then creates a new identity",
        )
    public = public_key_file(file)
    if not os.path.lexists(public):
        write_new(public, f"{claimed}\n".encode())
    return claimed


def opens(recipient: Recipient, keys: Secret[list[Identity]]) -> bool:
    """Return whether one of the identities decrypts a test message to a recipient.

    The identities of plugins, which ask the user, are tried only with recipients that a plugin can have.
    """
    is_plain = isinstance(recipient.key, pyrage.x25519.Recipient | pyrage.ssh.Recipient)
    tried = [key for key in keys.reveal() if not (is_plain and isinstance(key, pyrage.plugin.IdentityPluginV1))]
    try:
        return bool(tried) and decrypt(encrypt(Secret(TEST), [recipient.key]), tried) == TEST
    except (pyrage.DecryptError, DeviceFault):
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
