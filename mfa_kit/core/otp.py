"""Seeds, time steps and codes (RFC 4226 and RFC 6238) with AWS's parameters as defaults.

Functions never read the clock: the time is always a parameter.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

PERIOD = 30
DIGITS = 6
# The number of values of a counter, which has eight octets (RFC 4226, 5.1).
COUNTERS = 2**64

# Accepted clock skew in steps. Responses of AWS, recorded and published by others, show that STS accepts codes up to
# two steps off. Accepting two steps here would leave no margin.
WITHIN = 1
# How many steps before and after the current step to search for a code, in case the device's clock is wrong: a little
# more than an hour, because a phone may have missed a change to daylight saving time. Each step raises the chance that
# a typo is mistaken for a wrong clock by one in a million.
LOOKED_FOR = 130
# Yubico's "modhex" alphabet of 16 letters. A YubiKey types 32 or more of them when it is touched.
MODHEX = frozenset("cbdefghijklnrtuv")

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


@dataclass(frozen=True, slots=True)
class Mistake:
    """A problem with a typed code, and what to do about it."""

    what: str
    hint: str


SAME = Mistake("that is the same code again", "wait until the next code is shown")


def digits(typed: str) -> str | Mistake:
    """Return the six digits of a typed code, or the mistake.

    White space is ignored, because apps show two groups of digits.
    """
    code = "".join(typed.split())
    if len(code) == DIGITS and code.isascii() and code.isdecimal():
        return code
    if len(code) > 2 * DIGITS and MODHEX.issuperset(code.lower()):
        return Mistake("that was typed by a YubiKey when it was touched", "type the six digits yourself")
    if not code:
        return Mistake("nothing was typed", f"type the {DIGITS} digits that are shown")
    return Mistake(f"that is not {DIGITS} digits", f"type the {DIGITS} digits that are shown, without letters")


def diagnose(
    typed: str, seed: Seed, *, time: float, after: int | None = None, shown_by: str = "the phone", within: int = WITHIN
) -> int | Mistake:
    """Return the time step of a typed code, or the mistake.

    `time` is AWS's time in Unix seconds. A code is accepted if its step is at most `within` steps from `time`. `after`
    is the step of the code that was typed before, or None. The code of the step that follows `after` is accepted no
    matter how late it is typed. `shown_by` names the device in messages.
    """
    code = digits(typed)
    if isinstance(code, Mistake):
        return code
    now = step(time)
    drift = _drift(code, seed, now=now, after=after)
    if drift is None:
        return Mistake(
            f"that code does not match this device: {shown_by} does not show it within an hour of the current time",
            "check that it is not another device's code, then type the current code",
        )
    code_step = now + drift
    if after is not None and code_step == after:
        return SAME
    if after is not None and code_step < after:
        return Mistake("that code is older than the previous code", "type the current code")
    if abs(drift) > within and code_step - 1 != after:
        return _off(drift, shown_by)
    return code_step


def _drift(code: str, seed: Seed, *, now: int, after: int | None) -> int | None:
    """Return the step of a code minus the step `now`, or None if no step within LOOKED_FOR steps of `now` has the code.

    If several steps have it, the step after `after` is preferred, then the step nearest to `now`.
    """
    spread = range(max(now - LOOKED_FOR, 0), now + LOOKED_FOR + 1)
    steps = [
        step_number for step_number, candidate in zip(spread, codes(seed, spread), strict=True) if candidate == code
    ]
    if after is not None and code == next(codes(seed, range(after + 1, after + 2))):
        return after + 1 - now
    return min((step_number - now for step_number in steps), key=abs, default=None)


def _off(drift: int, shown_by: str) -> Mistake:
    seconds = abs(drift) * PERIOD
    about = f"{seconds} s" if seconds < 2 * 60 else f"{round(seconds / 60)} minutes"
    if drift < 0:
        return Mistake(
            f"the clock of {shown_by} is about {about} behind AWS's, or this code was typed long after it was shown",
            "set that clock automatically (network time), and type the code as soon as it appears",
        )
    return Mistake(
        f"the clock of {shown_by} is about {about} ahead of AWS's, and AWS will eventually reject its codes",
        "set that clock automatically (network time), and type the next code",
    )


def grouped(seed: Seed) -> Secret[str]:
    """Return a seed as people type it: base32 in groups of four letters, eight groups per line."""
    text = base64.b32encode(seed.reveal()).decode().rstrip("=")
    groups = [text[start : start + 4] for start in range(0, len(text), 4)]
    return Secret("\n".join(" ".join(groups[start : start + 8]) for start in range(0, len(groups), 8)))
