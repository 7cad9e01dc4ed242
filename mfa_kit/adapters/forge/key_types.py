"""Separates the public keys that backups can be encrypted to from other public keys."""

import re
from collections.abc import Iterable

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

# The minimum length of an RSA key in bits. Shorter keys are not allowed (NIST SP 800-131A).
LEAST_BITS = 2048
# Matches the name of a key type (RFC 4253, 6.6, and OpenSSH's own types, which contain a domain).
TYPE = re.compile(r"[a-z0-9-]{1,40}(?:@[a-z0-9.]{1,30})?", re.ASCII)
AGE = "age1"


def sort_keys(lines: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the usable public keys without comments, and descriptions of the other lines, such as their key types.

    Usable keys are Ed25519 keys, RSA keys of at least 2048 bits, and age recipients. All other keys, such as ECDSA keys
    and keys on security keys (`sk-…`), are damaged, too weak, or not supported by age. Duplicates are dropped from both
    lists.
    """
    usable: dict[str, None] = {}
    skipped: dict[str, None] = {}
    for line in lines:
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith(AGE):
            usable[words[0]] = None
        elif obstacle := _obstacle(words):
            skipped[obstacle] = None
        else:
            usable[" ".join(words[:2])] = None
    return [*usable], [*skipped]


def _obstacle(words: list[str]) -> str:
    """Return a description of a key that cannot be used, such as its type. Return "" if the key can be used."""
    kind = words[0] if TYPE.fullmatch(words[0]) else "a line that is not a key"
    if kind not in {"ssh-ed25519", "ssh-rsa"}:
        return kind
    try:
        key = load_ssh_public_key(" ".join(words[:2]).encode())
    except (ValueError, UnsupportedAlgorithm):
        return f"a damaged {kind} key"
    if isinstance(key, RSAPublicKey) and key.key_size < LEAST_BITS:
        return f"ssh-rsa with {key.key_size} bits"
    return ""
