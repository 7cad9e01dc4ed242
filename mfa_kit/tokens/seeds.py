"""Values of display tokens: their data in a seed file, the codes that they displayed, and the results of their tests.

Seeds are Secrets, so they are never printed. Messages about a seed file quote no cell except a serial, because any
other cell may be a seed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mfa_kit.core import otp
from mfa_kit.core.otp import Seed
from mfa_kit.core.text import few

# A code has 6 to 9 digits (RFC 6030, 10.1). A seed has at least 16 octets (RFC 4226, 4), but some apps have used 10.
DIGITS = range(6, 10)
PERIODS = (30, 60)
DIGESTS = ("sha1", "sha256", "sha512")
OCTETS = range(10, 129)
# The values of a counter, which has 8 octets (RFC 4226, 5.1).
COUNTERS = range(otp.COUNTERS)
# The drifts that a seed file may give for a clock, in steps: up to about two months of 30 s steps, which is also the
# largest value of --window. If the drift is larger, the clock is broken or the row is damaged.
DRIFTS = range(-175_200, 175_201)
LONGEST_SERIAL = 64
# A text with at least this many letters and digits may be a seed: 20 octets in base32, or 16 in hex. No serial of a
# display token looks like this.
LONG = 32
LIKE_A_SEED = re.compile(rf"(?=.*\d)(?=.*[a-z])([0-9a-f]{{{LONG},}}|[a-z2-7]{{{LONG},}}=*)", re.ASCII | re.IGNORECASE)
# The maximum number of reasons in one message.
TOLD = 10


class Factor(StrEnum):
    """The moving factor of a token: the time (RFC 6238) or a counter (RFC 4226)."""

    TOTP = "totp"
    HOTP = "hotp"


class Encoding(StrEnum):
    """The encoding of the seeds in a file."""

    HEX = "hex"
    BASE32 = "base32"
    BASE64 = "base64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A display token without its seed.

    `drift` is how many steps its clock is ahead (negative: behind) according to the seed file. `octets` is the length
    of the seed, or 0 if only AWS has the seed. `capacity` is the length in octets of the longest seed that can be
    written to the token, or 0 for a token that cannot be programmed.
    """

    serial: str
    factor: Factor = Factor.TOTP
    digest: str = "sha1"
    digits: int = otp.DIGITS
    period: int = otp.PERIOD
    counter: int = 0
    maker: str = ""
    model: str = ""
    drift: int = 0
    octets: int = 0
    capacity: int = 0

    @property
    def parameters(self) -> str:
        """The parameters as one word, such as `totp-sha1-6-30s` or `hotp-sha1-6`."""
        step = f"-{self.period}s" if self.factor is Factor.TOTP else ""
        return f"{self.factor}-{self.digest}-{self.digits}{step}"

    def wrong(self) -> str:
        """Return what is wrong with the serial, maker, model or parameters, or an empty text if nothing is wrong."""
        if misplaced := self._misplaced():
            return misplaced
        if self.digest not in DIGESTS:
            return f"its hash is not one of {', '.join(DIGESTS)}"
        if self.digits not in DIGITS:
            return f"its codes do not have {DIGITS[0]} to {DIGITS[-1]} digits (RFC 6030)"
        if self.factor is Factor.HOTP:
            return "" if self.counter in COUNTERS else "its counter is out of range"
        if self.period not in PERIODS:
            return "its time step is neither 30 nor 60 s"
        return "" if self.drift in DRIFTS else "its clock drift is out of range"

    def _misplaced(self) -> str:
        if not self.serial or len(self.serial) > LONGEST_SERIAL or not self.serial.isprintable():
            return "the serial number is missing" if not self.serial else "the serial number is damaged or too long"
        for name, text in (("serial", self.serial), ("maker", self.maker), ("model", self.model)):
            if len(text) >= LONG and any(LIKE_A_SEED.fullmatch(re.sub("[ -]", "", part)) for part in text.split(":")):
                return f"its {name} looks like a seed; check whether two columns were swapped"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededToken:
    """A token with its seed.

    `where` is the token's position in the seed file. `other` is the seed decoded with the other possible encoding, or
    None.
    """

    token: Token
    seed: Seed
    where: str
    other: Seed | None = None

    def programmable(self, capacity: int) -> "SeededToken":
        """Return this token with the given capacity: the length of the longest seed, in octets, that it can store."""
        return replace(self, token=replace(self.token, capacity=capacity))


@dataclass(frozen=True, slots=True)
class DroppedRow:
    """A row of a file that was not used: its position in the file, and the reason."""

    where: str
    reason: str


def joined_reasons(dropped: Sequence[DroppedRow]) -> str:
    """Return one text with the positions and reasons of up to TOLD rows, and with the number of further rows."""
    return few([f"{row.where}: {row.reason}" for row in dropped], TOLD, "; ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """A seed file, decoded with one encoding: its tokens, and the rows that were left out."""

    encoding: Encoding
    keys: tuple[SeededToken, ...]
    dropped: tuple[DroppedRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedFile:
    """The contents of a seed file.

    `layout` is the name of its format. `readings` has its decodings: two if the seeds could be hex or base32, and then
    a code from a token shows which one is right. `bare` has the tokens whose seed only AWS has, and `notes` has remarks
    for the user.
    """

    layout: str
    readings: tuple[Decoding, ...]
    bare: tuple[Token, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedCodes:
    """One code or two consecutive codes, oldest first, and the Unix time at which the last code was displayed."""

    codes: tuple[str, ...]
    at: float


@dataclass(frozen=True, slots=True)
class WrittenReading:
    """A row of the CSV file of `--readings`: its position, a token's serial, and the codes that the token displayed."""

    where: str
    serial: str
    typed: TypedCodes


class TokenVerdict(StrEnum):
    """The result of testing a token."""

    UNTESTED = "untested"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Sighting:
    """The result of one test of a token, as the ledger stores it in columns of this order.

    `at` is the Unix time at which the last code was displayed. `offset` is how many steps or presses the token is
    ahead, and `seconds` how many seconds its clock is ahead; None means unknown. `reason` says why the token was
    rejected, or that only its display was checked. Otherwise it is empty.
    """

    serial: str
    at: float
    verdict: TokenVerdict
    offset: int | None = None
    seconds: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StockedToken:
    """A token in the ledger's inventory, with a fingerprint of its seed and its latest verdict.

    `fingerprint` is empty if only AWS has the seed. `reason` is that of the latest Sighting. `user` is the user who has
    the token, or None.
    """

    token: Token
    fingerprint: str
    verdict: TokenVerdict = TokenVerdict.UNTESTED
    reason: str = ""
    user: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StockCounts:
    """How many tokens of an import were new, were already known, or were known with a different seed."""

    new: int
    known: int
    reseeded: int


DAY = 86400
# The minimum time in seconds between two sightings (test results). If less time passed, the drift would be too
# inaccurate, because a sighting shows the clock only to within one step.
RATE_AFTER = 7 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How fast a token's clock drifts: `rate` in seconds per day (positive: the clock gains).

    `within` is the largest error that `rate` can have, in seconds per day. There is an error because a code shows the
    time only to within one step.
    """

    rate: float
    within: float


def drift_of(sightings: Sequence[Sighting], *, period: int) -> Drift | None:
    """Return the drift of a token's clock, in seconds per day, between its first and its last sighting.

    `period` is the time step of the token in seconds. Sightings without a clock offset are ignored. Return None if
    fewer than two sightings remain, or if the first and the last are less than seven days apart.
    """
    known = sorted((sighting.at, sighting.seconds) for sighting in sightings if sighting.seconds is not None)
    if len(known) < 2 or known[-1][0] - known[0][0] < RATE_AFTER:  # noqa: PLR2004 - a rate has two ends
        return None
    (began, first), (ended, last) = known[0], known[-1]
    days = (ended - began) / DAY
    return Drift(rate=(last - first) / days, within=period / days)
