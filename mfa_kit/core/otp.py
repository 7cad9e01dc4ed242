"""Seeds, time steps and codes (RFC 4226 and RFC 6238) with AWS's parameters as defaults.

Functions never read the clock: the time is always a parameter.
"""

import base64
from collections.abc import Iterator
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

PERIOD = 30
DIGITS = 6
# The length of AWS's seeds in octets. IAM's seed for a virtual MFA device has 320 bits.
AWS_OCTETS = 40
# The number of values of a counter, which has eight octets (RFC 4226, 5.1).
COUNTERS = 2**64

# Accepted clock skew in steps. Responses of AWS, recorded and published by others, show that STS accepts codes up to
# two steps off. Accepting two steps here would leave no margin.
WITHIN = 1
T = TypeVar("T")


class Secret(Generic[T]):
    """A value that is kept out of repr, str, format, pickle and the locals in tracebacks.

    tests/test_house.py lists the only places that may call `reveal()`.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value: T = value

    def reveal(self) -> T:
        """Return the plain value. Do not bind it to a name, because a traceback could show it."""
        return self._value

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret) or type(other) is not type(self):
            return False
        import hmac  # noqa: PLC0415 - loads OpenSSL, which help pages do not need

        return hmac.compare_digest(_octets(self), _octets(other))

    def __hash__(self) -> NoReturn:
        raise TypeError("a secret cannot be hashed")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


def _octets(secret: Secret[Any]) -> bytes:
    if isinstance(secret.reveal(), str):
        return str.encode(secret.reveal())
    if isinstance(secret.reveal(), bytes):
        return bytes(secret.reveal())
    raise TypeError("only text and octets are compared")


class Seed(Secret[bytes]):
    """The shared secret K of RFC 4226, as raw octets."""

    __slots__ = ()


class KeyUri(Secret[str]):
    """An `otpauth://` URI. It contains the seed, so it is a Secret, which is never printed or logged."""

    __slots__ = ()


class Png(Secret[bytes]):
    """A PNG image of the QR code of a key URI. It contains the seed."""

    __slots__ = ()


class Symbol(Secret[str]):
    """The QR code of a key URI as text: half-block characters, two rows of modules per line. It contains the seed."""

    __slots__ = ()


class Created(NamedTuple):
    """The response of CreateVirtualMFADevice. IAM returns it only once per device."""

    seed: Seed
    uri: KeyUri


class Pair(NamedTuple):
    """Two consecutive codes, oldest first."""

    first: str
    second: str

    def __repr__(self) -> str:
        return "Pair(…)"


def from_base32(text: Secret[str] | Secret[bytes]) -> Seed:
    """Decode a seed from base32 text (RFC 4648), padded or not. Raise ValueError if the text is invalid or empty."""
    if not text.reveal():
        raise ValueError("there is no secret")
    return Seed(base64.b32decode(_octets(text) + b"=" * (-len(text.reveal()) % 8)))


def step(time: float, period: int = PERIOD) -> int:
    """Return the time step T of RFC 6238 for a Unix time in seconds."""
    return int(time) // period


def codes(seed: Seed, steps: range, *, digest: str = "sha1", digits: int = DIGITS) -> Iterator[str]:
    """Yield the codes (HOTP values, RFC 4226, 5.3) of consecutive counters. The counters of TOTP are time steps.

    The defaults, HMAC-SHA-1 and six digits, are those of AWS.
    """
    import hmac  # noqa: PLC0415 - loads OpenSSL, which help pages do not need

    keyed, modulus = hmac.new(seed.reveal(), digestmod=digest), 10**digits
    for counter in steps:
        mac = keyed.copy()
        mac.update(counter.to_bytes(8))
        value = mac.digest()
        offset = value[-1] & 15
        yield f"{(int.from_bytes(value[offset : offset + 4]) & 0x7FFFFFFF) % modulus:0{digits}}"


def code_at(seed: Seed, time: float) -> str:
    """Return the code of AWS's kind at a Unix time."""
    return next(codes(seed, range(step(time), step(time) + 1)))


def fingerprint(seed: Seed, key: Secret[bytes]) -> str:
    """Return a keyed fingerprint of a seed: the first 32 hex digits of an HMAC-SHA-256.

    With the same key, equal seeds have equal fingerprints. Without the key, a fingerprint reveals nothing.
    """
    import hmac  # noqa: PLC0415 - loads OpenSSL, which help pages do not need

    return hmac.digest(key.reveal(), seed.reveal(), "sha256").hex()[:32]


def key_digest(key: Secret[bytes]) -> str:
    """Return the SHA-256 of a random key in hex, by which two copies of the key are compared.

    It reveals nothing about a key of 32 random bytes.
    """
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which help pages do not need

    return hashlib.sha256(key.reveal()).hexdigest()


def pair(seed: Seed, time: float) -> Pair:
    """Return the codes of two consecutive time steps, the second of which contains a Unix time.

    IAM accepts this pair, so the user need not wait for a code.
    """
    now = step(time)
    return Pair(*codes(seed, range(now - 1, now + 1)))


def grouped(seed: Seed) -> Secret[str]:
    """Return a seed as people type it: base32 in groups of four letters, eight groups per line."""
    text = base64.b32encode(seed.reveal()).decode().rstrip("=")
    groups = [text[start : start + 4] for start in range(0, len(text), 4)]
    return Secret("\n".join(" ".join(groups[start : start + 8]) for start in range(0, len(groups), 8)))
