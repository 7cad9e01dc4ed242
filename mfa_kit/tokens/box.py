"""A box of display tokens as a whole: how many were accepted, how far their clocks are off, and how fast one drifts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from mfa_kit.core import otp
from mfa_kit.tokens.seeds import Sighting, Token, TokenVerdict

DAY = 86400
# A chart of so many bins fits on a sheet of paper and on a screen.
BINS = 40
# Two readings give a rate when a step is short compared with the time between them.
RATE_AFTER = 7 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """The result of a box: each token once, in the file's order, with its last reading, None where there is none."""

    tokens: tuple[tuple[Token, Sighting | None], ...]

    def of(self, verdict: TokenVerdict) -> int:
        """Return how many tokens have this verdict."""
        return sum((seen.verdict if seen else TokenVerdict.UNTESTED) is verdict for _, seen in self.tokens)

    @property
    def offsets(self) -> list[int]:
        """The clocks of the accepted tokens, in seconds ahead, smallest first."""
        return sorted(
            seen.seconds
            for _, seen in self.tokens
            if seen and seen.verdict is TokenVerdict.ACCEPTED and seen.seconds is not None
        )

    @property
    def median(self) -> float | None:
        """The median of `offsets` in seconds; None where no clock was read."""
        return median(self.offsets) if self.offsets else None


def histogram(offsets: Sequence[int]) -> list[tuple[int, int]]:
    """Count clocks in bins round zero: (the bin's middle in seconds, how many), gaps included.

    A bin is a step wide, or as many steps as leave no more than BINS.
    """
    if not offsets:
        return []
    width = otp.PERIOD * max(1, -(-(max(offsets) - min(offsets)) // (otp.PERIOD * (BINS - 2))))
    counts = Counter(round(offset / width) for offset in offsets)
    return [(at * width, counts[at]) for at in range(min(counts), max(counts) + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How fast a clock runs away, in seconds a day, and how far that may be wrong for the length of a step."""

    rate: float
    within: float


def drift_of(sightings: Sequence[Sighting], *, period: int) -> Drift | None:
    """Return the rate between the first and the last reading; None where they are too close, or there is no clock."""
    known = sorted((one.at, one.seconds) for one in sightings if one.seconds is not None)
    if len(known) < 2 or known[-1][0] - known[0][0] < RATE_AFTER:  # noqa: PLR2004 - a rate has two ends
        return None
    (began, first), (ended, last) = known[0], known[-1]
    days = (ended - began) / DAY
    return Drift(rate=(last - first) / days, within=period / days)
