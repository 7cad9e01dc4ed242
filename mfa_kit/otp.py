"""Seeds, steps and codes: RFC 4226 and RFC 6238 with AWS's parameters. Time is a parameter; nothing here does I/O."""

import base64
import hmac
from collections.abc import Iterator
from typing import Generic, NamedTuple, NoReturn, TypeVar

PERIOD = 30
DIGITS = 6

T = TypeVar("T")


class Secret(Generic[T]):
    """A value that does not show itself: not in repr, str, format, pickle or a traceback's locals.

    `reveal()` is called where tests/test_house.py lists it, nowhere else.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value: T = value

    def reveal(self) -> T:
        """Return the bare value. Do not bind it to a name."""
        return self._value

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and hmac.compare_digest(_octets(self._value), _octets(other.reveal()))

    def __hash__(self) -> NoReturn:
        raise TypeError("a secret is not hashable")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


def _octets(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError("only text and octets are compared")


class Seed(Secret[bytes]):
    """The shared secret K of RFC 4226, as raw octets."""

    __slots__ = ()


class KeyUri(Secret[str]):
    """An `otpauth://` URI. It holds the seed, so it is treated as the seed."""

    __slots__ = ()


class Png(Secret[bytes]):
    """A picture of a key URI: the seed once more."""

    __slots__ = ()


class Symbol(Secret[str]):
    """A QR symbol of a key URI in half blocks, a line two rows: the seed once more."""

    __slots__ = ()


class Created(NamedTuple):
    """What only CreateVirtualMFADevice ever returns, and only once."""

    seed: Seed
    uri: KeyUri


class Pair(NamedTuple):
    """Two consecutive codes, oldest first."""

    first: str
    second: str

    def __repr__(self) -> str:
        return "Pair(…)"


def from_base32(text: str | bytes) -> Seed:
    """Decode base32 (RFC 4648) with or without padding. Raise ValueError when it is none."""
    octets = _octets(text)
    return Seed(base64.b32decode(octets + b"=" * (-len(octets) % 8)))


def step(at: float) -> int:
    """Return the time step T of RFC 6238 for a Unix time in seconds."""
    return int(at) // PERIOD


def codes(seed: Seed, steps: range) -> Iterator[str]:
    """Yield the HOTP values (RFC 4226, 5.3) of consecutive counters: HMAC-SHA-1 and six digits, as AWS uses."""
    keyed = hmac.new(seed.reveal(), digestmod="sha1")
    for counter in steps:
        mac = keyed.copy()
        mac.update(counter.to_bytes(8))
        digest = mac.digest()
        offset = digest[-1] & 15
        yield f"{(int.from_bytes(digest[offset : offset + 4]) & 0x7FFFFFFF) % 10**DIGITS:0{DIGITS}}"


def pair(seed: Seed, at: float) -> Pair:
    """Return the codes of the previous and the current step: IAM takes them at once, nobody waits."""
    now = step(at)
    return Pair(*codes(seed, range(now - 1, now + 1)))
