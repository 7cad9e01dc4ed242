"""`mfa-kit token accept`: test a box of tokens with codes from a table or typed codes, and show the results so far."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.token.seed_options import FILE, WINDOW, dropped_rows, note_dropped, seed_file_options
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.text import iso_time, one_line
from mfa_kit.tokens.acceptance import BoxTrial, TokenBatch, histogram, judge_readings, run_session
from mfa_kit.tokens.seeds import DroppedRow, Encoding, Sighting, Token, TokenVerdict, joined_reasons
from mfa_kit.wiring.settings import Settings

# If at least this many consecutive bins are empty, the chart of the page shows them as a single line.
GAP = 2
# The label of a bar, its value, its tone, and the text at its end.
Bar = tuple[str, int, str, str]
# The length of the longest bar, in characters.
WIDE = 40


@click.command(cls=Verb)
@click.argument("file", type=FILE)
@seed_file_options
@click.option("--readings", type=FILE, metavar="CSV", help="Read serial numbers, codes and times from a table.")
@click.option("--two", is_flag=True, help="Ask for two consecutive codes of each token.")
@WINDOW
@click.option("--sheet", "out", type=FILE, metavar="HTML", help="Write a printable report to a new file.")
def accept(
    *,
    file: Path,
    encoding: Encoding | None,
    unlock_stdin: bool,
    unlock_fd: int | None,
    readings: Path | None,
    two: bool,
    window: int,
    out: Path | None,
    settings: Settings,
    output: Output,
) -> int:
    """Test a box of tokens: type each serial number and its code. An empty serial number ends the session.

    To continue later, run the same command again. With --no-input, the command shows the results so far without asking.
    """
    if settings.dry_run:
        raise UsageFault(
            "token accept stores each result, so it has no --dry-run", "to see the results so far, add --no-input"
        )
    if out:
        wiring.files.check_new(out)
    rows = wiring.seed_files.read_readings(readings) if readings else ()
    opening = wiring.seed_files.SeedFileOptions(encoding=encoding, unlock_stdin=unlock_stdin, unlock_fd=unlock_fd)
    seeds = wiring.seed_files.open_seed_file(file, opening, settings=settings)
    trial = BoxTrial(seeds, wiring.ledger.TokenRecords(settings), window=window, two=two)
    refused: Sequence[DroppedRow] = ()
    if readings:
        refused = judge_readings(trial, rows)
    elif not settings.no_input:
        run_session(trial, settings.interaction, now=wiring.seed_files.now)
    box, left_out = trial.box, trial.left_out
    try:
        _print_box(box, refused, left_out, output=output, settings=settings)
    finally:
        # Write the page even if the output is closed early, such as by a pager.
        if out:
            page = acceptance_sheet(box, name=file.name, reported_at=wiring.seed_files.now(), missing=len(left_out))
            wiring.files.write_new_file(out, page.encode())
    return 0 if box.of(TokenVerdict.ACCEPTED) == len(box.tokens) and not refused and not left_out else 1


def _print_box(
    box: TokenBatch,
    refused: Sequence[DroppedRow],
    left_out: Sequence[DroppedRow],
    *,
    output: Output,
    settings: Settings,
) -> None:
    """Print the results of a box of tokens.

    `refused` are rows of the --readings table that gave no verdict. `left_out` are rows of the seed file that were
    rejected, so their tokens are not in the box.
    """
    if left_out:
        message = f"rows of the seed file that cannot be used: {len(left_out)}; {joined_reasons(left_out)}"
        settings.progress.alert(message)
    total = {verdict.value: box.of(verdict) for verdict in TokenVerdict}
    rows = [_row(token, sighting) for token, sighting in box.tokens]
    if output.form == "json":
        not_in_box = [row.where for row in left_out]
        list_fields: ResultRow = {"not_taken": dropped_rows(refused), "not_in_box": not_in_box, "tokens": rows}
        output.one("token-accept", {**total, "drift": _clocks(box), **list_fields})
        return
    output.many(
        "token-accept", rows, empty="this box has no tokens", narrow=("serial", "verdict", "offset_s", "read", "reason")
    )
    if output.form == "table":
        output.text("\n")
        output.one("token-accept", {**total, **_clocks(box), "not_taken": len(refused)})
        output.text(_histogram_text(box.offsets))
        output.text("".join(f"{row.where}: {one_line(row.reason)}\n" for row in refused))
    else:
        note_dropped(refused, settings.progress)


def _row(token: Token, sighting: Sighting | None) -> ResultRow:
    return {
        "serial": token.serial,
        "type": token.parameters,
        "verdict": sighting.verdict if sighting else TokenVerdict.UNTESTED,
        "offset_steps": sighting.offset if sighting else None,
        "offset_s": sighting.seconds if sighting else None,
        "read": iso_time(sighting.at) if sighting else None,
        "reason": sighting.reason if sighting else "",
    }


def _clocks(box: TokenBatch) -> ResultRow:
    """Return how many clock offsets are known, and the smallest (slowest), median and largest offset in seconds.

    If no offset is known, the last three values are None.
    """
    return {
        "clocks": len(box.offsets),
        "slowest_s": box.offsets[0] if box.offsets else None,
        "median_s": box.median,
        "fastest_s": box.offsets[-1] if box.offsets else None,
    }


def _histogram_text(offsets: Sequence[int]) -> str:
    """Return a histogram of clock offsets (in seconds) as text; "" without offsets.

    There is one line per bin, with a bar whose length is relative to the largest bin.
    """
    bars = histogram(offsets)
    most = max((count for _, count in bars), default=0)
    lines = (f"{middle:>8} s  {count:>5}  {'#' * -(-count * WIDE // most)}" for middle, count in bars)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def acceptance_sheet(box: TokenBatch, *, name: str, reported_at: float, missing: int = 0) -> str:
    """Return a printable HTML page about the test of a box of tokens. It contains no seed.

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
