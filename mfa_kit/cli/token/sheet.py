"""A printable HTML page about the acceptance test of a box of tokens. The page contains no seed."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from mfa_kit import wiring
from mfa_kit.tokens.acceptance import TokenBatch, histogram
from mfa_kit.tokens.seeds import Sighting, TokenVerdict

# If at least this many consecutive bins are empty, the chart shows them as a single line.
GAP = 2
# The label of a bar, its value, its tone, and the text at its end.
Bar = tuple[str, int, str, str]


def acceptance_sheet(box: TokenBatch, *, name: str, reported_at: float, missing: int = 0) -> str:
    """Return an HTML page about the test of a box of tokens.

    `name` is the name of the seed file, `reported_at` the Unix time of the report, and `missing` the number of rows of
    the file that are not in the box.
    """
    return wiring.files.html_page(
        "tokens.html",
        box=box,
        name=name,
        reported_at=reported_at,
        missing=missing,
        verdicts={
            verdict: box.of(verdict)
            for verdict in (TokenVerdict.ACCEPTED, TokenVerdict.REJECTED, TokenVerdict.UNTESTED)
        },
        clocks=list(_bars(histogram(box.offsets))) if box.offsets else [],
        rows=[(token, sighting, _clock(sighting)) for token, sighting in box.tokens],
    )


def _clock(sighting: Sighting | None) -> str:
    return _signed(sighting.seconds) if sighting and sighting.seconds is not None else ""


def _bars(bins: Sequence[tuple[int, int]]) -> Iterator[Bar]:
    """Yield a bar per bin. GAP or more consecutive empty bins share a single bar of length zero."""
    for empty, some in groupby(bins, key=lambda histogram_bin: not histogram_bin[1]):
        group = list(some)
        if empty and len(group) >= GAP:
            yield (f"{_signed(group[0][0])} to {_signed(group[-1][0])}", 0, "off", "0")
        else:
            yield from ((_signed(middle), count, "good", str(count)) for middle, count in group)


def _signed(seconds: int) -> str:
    return f"{seconds:+d}" if seconds else "0"
