"""Statistics on a box of display tokens: how many were accepted, and how far off their clocks are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from mfa_kit.core import otp
from mfa_kit.tokens.seeds import Sighting, Token, TokenVerdict

DAY = 86400
# The maximum number of bins of a chart that fits on a sheet of paper and on a screen.
BINS = 40
# Two readings give a drift only if the time between them is long compared with a step.
RATE_AFTER = 7 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """The result of testing a box: each token once, in the order of the file, with its latest reading or None."""

    tokens: tuple[tuple[Token, Sighting | None], ...]

    def of(self, verdict: TokenVerdict) -> int:
        """Return how many tokens have this verdict."""
        return sum((seen.verdict if seen else TokenVerdict.UNTESTED) is verdict for _, seen in self.tokens)

    @property
    def offsets(self) -> list[int]:
        """The offsets of the accepted tokens' clocks, in seconds ahead, smallest first."""
        return sorted(
            seen.seconds
            for _, seen in self.tokens
            if seen and seen.verdict is TokenVerdict.ACCEPTED and seen.seconds is not None
        )

    @property
    def median(self) -> float | None:
        """The median of `offsets` in seconds, or None if no clock was read."""
        return median(self.offsets) if self.offsets else None


def histogram(offsets: Sequence[int]) -> list[tuple[int, int]]:
    """Count clocks in bins around zero. Return the middle of each bin, in seconds, and its count.

    A bin is one step wide, or as many steps as needed for at most BINS bins. Empty bins in between are included.
    """
    if not offsets:
        return []
    width = otp.PERIOD * max(1, -(-(max(offsets) - min(offsets)) // (otp.PERIOD * (BINS - 2))))
    counts = Counter(round(offset / width) for offset in offsets)
    return [(at * width, counts[at]) for at in range(min(counts), max(counts) + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How fast a clock drifts, in seconds per day, and the possible error caused by the length of a step."""

    rate: float
    within: float


def drift_of(sightings: Sequence[Sighting], *, period: int) -> Drift | None:
    """Return the drift between the first and the last reading. `period` is the step of the token in seconds.

    Returns None if the readings are too close together, or if the token has no clock.
    """
    known = sorted((one.at, one.seconds) for one in sightings if one.seconds is not None)
    if len(known) < 2 or known[-1][0] - known[0][0] < RATE_AFTER:  # noqa: PLR2004 - a rate has two ends
        return None
    (began, first), (ended, last) = known[0], known[-1]
    days = (ended - began) / DAY
    return Drift(rate=(last - first) / days, within=period / days)
