"""Parses the recipients of backups from options and files, and encrypts a short text to them.

A recipient is a public key of age (age-encryption.org/v1), SSH or an age plugin.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyrage

from mfa_kit.adapters.files.age_calls import contain_panics, without_stderr
from mfa_kit.adapters.files.plugins import NO_PLUGINS, Plugins, PublicKey, encrypt
from mfa_kit.adapters.files.private_files import reason_of, write_new
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import Message, command
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import encoding_of

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
    texts: Iterable[str], files: Iterable[Path] = (), *, source: str = "-r", plugins: Plugins = NO_PLUGINS
) -> list[Recipient]:
    """Parse recipients from `texts` and from the lines of files. `source` says where the texts come from, such as "-r".

    Raise UsageFault for the first text that is not a recipient, or whose plugin is not one of `plugins`. The message
    names `source`, or the file and line. Raise UsageFault also if all recipients are age1tag keys, or only some are
    age1tagpq keys. Raise DeviceFault if a plugin refuses its recipient.
    """
    recipients = [_recipient(text, plugins, where=f"{source} {text}") for text in texts]
    for file in files:
        recipients += [_recipient(line, plugins, where=f"line {number} of {file}") for number, line in _lines(file)]
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


def _recipient(text: str, plugins: Plugins, *, where: str) -> Recipient:
    if "PRIVATE KEY" in text:
        raise UsageFault(
            "the recipient is a private key", Message("give its public key", command("ssh-keygen -y -f FILE"))
        )
    if "AGE-SECRET-KEY-" in text.upper():
        raise UsageFault(
            "the recipient is a private key", Message("give its public key", command("age-keygen -y FILE"))
        )
    if "AGE-PLUGIN-" in text.upper():
        raise UsageFault(
            "the recipient is an identity of an age plugin",
            "give the recipient that belongs to it, which begins with age1 and the plugin's name",
        )
    obstacle = _ssh_obstacle(text.split())
    if obstacle or (recipient := _usable(text) or _of_plugin(text, plugins, where=where)) is None:
        raise UsageFault(
            f"{where} is not a recipient{obstacle and f': {obstacle}'}",
            "give an age recipient (age1…) or an SSH public key (ssh-ed25519, ssh-rsa)",
        )
    return recipient


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
