"""Display tokens: what a seed file says of them, and what a desk saw of them. Values; a seed stays opaque.

No sentence here or about a seed file quotes a cell of it but a serial: what stands there may be a seed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mfa_kit.core import otp
from mfa_kit.core.otp import Seed

# RFC 6030, 10.1: a response has 6 to 9 digits. RFC 4226, 4: a seed has 16 octets at least; apps have used 10.
DIGITS = range(6, 10)
PERIODS = (30, 60)
DIGESTS = ("sha1", "sha256", "sha512")
OCTETS = range(10, 129)
# RFC 4226, 5.1: the counter has 8 octets. A token that was pressed a thousand million times is a damaged row.
COUNTERS = range(10**9)
SERIAL = 64
# IAM: the seed of a virtual MFA device has 320 bits.
AWS_OCTETS = 40
# Twenty octets in base32, sixteen in hex: no serial of a display token is as long and looks like that.
LONG = 32
LIKE_A_SEED = re.compile(rf"(?=.*\d)(?=.*[a-z])([0-9a-f]{{{LONG},}}|[a-z2-7]{{{LONG},}}=*)", re.ASCII | re.IGNORECASE)
# AWS's hardware TOTP tokens: four letters and eight digits, such as GAHT12345678 (IAM user guide).
SOLD_BY_AWS = re.compile(r"[a-z]{4}\d{8}", re.ASCII)
# Reasons that fit into one sentence.
TOLD = 10


def folded(serial: str) -> str:
    """Return a serial without what scanners and people change of it: case and blanks."""
    return "".join(serial.split()).casefold()


def sold_by_aws(serial: str) -> bool:
    """Tell whether a serial looks like one of a token that AWS sold, whose seed only AWS has."""
    return SOLD_BY_AWS.fullmatch(folded(serial)) is not None


class Factor(StrEnum):
    """The moving factor of a token: the time (RFC 6238) or a counter (RFC 4226)."""

    TOTP = "totp"
    HOTP = "hotp"


class Encoding(StrEnum):
    """How the seeds of a file are written."""

    HEX = "hex"
    BASE32 = "base32"
    BASE64 = "base64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A display token without its seed; `octets` is the seed's length, 0 where only AWS has the seed.

    `capacity` is the longest seed in octets that can be burned into it, 0 for a token that cannot be programmed.
    """

    serial: str
    factor: Factor = Factor.TOTP
    digest: str = "sha1"
    digits: int = otp.DIGITS
    period: int = otp.PERIOD
    counter: int = 0
    maker: str = ""
    model: str = ""
    octets: int = 0
    capacity: int = 0

    @property
    def parameters(self) -> str:
        """Its parameters in one word: `totp-sha1-6-30s`, `hotp-sha1-6`."""
        step = f"-{self.period}s" if self.factor is Factor.TOTP else ""
        return f"{self.factor}-{self.digest}-{self.digits}{step}"

    def wrong(self) -> str:
        """Say which parameter is outside the standards; empty when none is."""
        if misplaced := self._misplaced():
            return misplaced
        if self.digest not in DIGESTS:
            return f"its hash is none of {', '.join(DIGESTS)}"
        if self.digits not in DIGITS:
            return f"it does not show {DIGITS[0]} to {DIGITS[-1]} digits, as RFC 6030 allows"
        if self.factor is Factor.TOTP and self.period not in PERIODS:
            return "its step is neither 30 nor 60 s"
        if self.factor is Factor.HOTP and self.counter not in COUNTERS:
            return "its counter is out of range"
        return ""

    def _misplaced(self) -> str:
        if not self.serial or len(self.serial) > SERIAL or not self.serial.isprintable():
            return "there is no serial" if not self.serial else "the serial is damaged or too long"
        for name, text in (("serial", self.serial), ("maker", self.maker), ("model", self.model)):
            if len(text) >= LONG and any(LIKE_A_SEED.fullmatch(re.sub("[ -]", "", part)) for part in text.split(":")):
                return f"its {name} looks like a seed; see whether two columns were swapped"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededToken:
    """A token with its seed, and where it stands in the file. `other` is the seed as another encoding would read it."""

    token: Token
    seed: Seed
    where: str
    other: Seed | None = None

    def programmable(self, capacity: int) -> "SeededToken":
        """Say that a seed of so many octets can be burned into this token."""
        return replace(self, token=replace(self.token, capacity=capacity))


@dataclass(frozen=True, slots=True)
class DroppedRow:
    """A row that was not taken: where it stands and why."""

    where: str
    reason: str


def joined_reasons(dropped: Sequence[DroppedRow]) -> str:
    """Join what is wrong with rows into one sentence; of many, the first of them and how many more there are."""
    said = [f"{each.where}: {each.reason}" for each in dropped[:TOLD]]
    more = len(dropped) - TOLD
    return "; ".join([*said, f"and {more} more"] if more > 0 else said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The file's rows, read in one encoding."""

    encoding: Encoding
    keys: tuple[SeededToken, ...]
    dropped: tuple[DroppedRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedFile:
    """What a file holds. It has two readings where its rows fit both encodings: a code off a token decides then."""

    layout: str
    readings: tuple[Reading, ...]
    bare: tuple[Token, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedCodes:
    """One code, or two consecutive ones, oldest first, and the Unix time at which the last was on the display."""

    codes: tuple[str, ...]
    at: float


@dataclass(frozen=True, slots=True)
class WrittenReading:
    """A reading that was written down: where it stands, and what a token showed when."""

    where: str
    serial: str
    typed: TypedCodes


class TokenVerdict(StrEnum):
    """What became of a token of a box."""

    UNTESTED = "untested"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One reading of a token at a desk, as the ledger keeps it."""

    serial: str
    at: float
    verdict: TokenVerdict
    offset: int | None = None
    seconds: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StockedToken:
    """A token in the inventory: which seed it has, without the seed; what became of it; who has it."""

    token: Token
    fingerprint: str
    verdict: TokenVerdict = TokenVerdict.UNTESTED
    reason: str = ""
    user: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StockCounts:
    """How many tokens of an import were new, were known, and are known by another seed than before."""

    new: int
    known: int
    reseeded: int
