"""How fast the clock of a display token drifts."""

from collections.abc import Sequence
from dataclasses import dataclass

from mfa_kit.tokens.seeds import Sighting

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
    """Return the drift of a token's clock, in seconds per day, between its first and its last sighting (test result).

    `period` is the time step of the token in seconds. Sightings without a clock offset are ignored. Return None if
    fewer than two sightings remain, or if the first and the last are less than seven days apart.
    """
    known = sorted((one.at, one.seconds) for one in sightings if one.seconds is not None)
    if len(known) < 2 or known[-1][0] - known[0][0] < RATE_AFTER:  # noqa: PLR2004 - a rate has two ends
        return None
    (began, first), (ended, last) = known[0], known[-1]
    days = (ended - began) / DAY
    return Drift(rate=(last - first) / days, within=period / days)
