"""Statistics on a box of display tokens. A box is all the tokens of one seed file.

The statistics show how many tokens were accepted, and how far off the clocks of the tokens are.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from mfa_kit.core import otp
from mfa_kit.tokens.seeds import Sighting, Token, TokenVerdict

# The maximum number of bins of a chart that fits on a sheet of paper and on a screen.
BINS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """The result of testing a box of tokens.

    `tokens` has each token of the seed file once, with its latest sighting (test result), or None if it was not tested.
    """

    tokens: tuple[tuple[Token, Sighting | None], ...]

    def of(self, verdict: TokenVerdict) -> int:
        """Return how many tokens have this verdict."""
        return sum((seen.verdict if seen else TokenVerdict.UNTESTED) is verdict for _, seen in self.tokens)

    @property
    def offsets(self) -> list[int]:
        """How many seconds the clock of each accepted token is ahead (negative: behind), smallest first.

        Tokens whose clock offset is unknown are left out.
        """
        return sorted(
            seen.seconds
            for _, seen in self.tokens
            if seen and seen.verdict is TokenVerdict.ACCEPTED and seen.seconds is not None
        )

    @property
    def median(self) -> float | None:
        """The median of `offsets` in seconds, or None if `offsets` is empty."""
        return median(self.offsets) if self.offsets else None


def histogram(offsets: Sequence[int]) -> list[tuple[int, int]]:
    """Count clock offsets, in seconds, in bins. Return a pair for each bin: its middle in seconds, and its count.

    Each bin is 30 s wide, or a multiple of 30 s if there would be more than BINS bins. The middle of each bin is a
    multiple of its width. Empty bins in between are included. Return an empty list if there are no offsets.
    """
    if not offsets:
        return []
    width = otp.PERIOD * max(1, -(-(max(offsets) - min(offsets)) // (otp.PERIOD * (BINS - 2))))
    counts = Counter(round(offset / width) for offset in offsets)
    return [(at * width, counts[at]) for at in range(min(counts), max(counts) + 1)]
