"""`mfa-kit token import`, `list` and `accept`: the inventory of display tokens, and the test of a box of tokens.

Seeds are not stored. Each command that needs them reads the vendor's file again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.value_types import Age, LocalPath, add_options
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.core.text import ResultRow, count_of, iso_time, one_line
from mfa_kit.tokens import matching
from mfa_kit.tokens.acceptance import BoxTrial, TokenBatch, histogram, judge_readings, run_session
from mfa_kit.tokens.aws_check import aws_use
from mfa_kit.tokens.matching import CodeSource, Undecided
from mfa_kit.tokens.seeds import (
    DroppedRow,
    Encoding,
    SeedFile,
    Sighting,
    StockCounts,
    StockedToken,
    Token,
    TokenVerdict,
    TypedCodes,
    joined_reasons,
)

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.interaction import Progress
    from mfa_kit.wiring.settings import Settings

# If at least this many consecutive bins are empty, the chart of the page shows them as a single line.
GAP = 2
# The label of a bar, its value, its tone, and the text at its end.
Bar = tuple[str, int, str, str]
# The length of the longest bar, in characters.
WIDE = 40

FILE = LocalPath(dir_okay=False)
# The maximum number of steps of 30 s to search: two months. A token whose clock is off by more than that is broken.
MOST_STEPS = 175_200
# The number of characters of the longest duration that is accepted.
LONGEST = len("5256000s")


class Steps(click.ParamType[int]):
    """A parameter type: a number of TOTP time steps, or a duration that is converted to steps of 30 s."""

    name = "steps"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of steps. Raise UsageFault if the text is not a number or a duration.

        Raise click.BadParameter if the number is larger than MOST_STEPS, or if the text is longer than LONGEST.
        """
        if isinstance(value, int):
            return value
        if len(value) > LONGEST:
            self.fail(f"write at most {MOST_STEPS} steps, such as 20, 12h or 2d", param, ctx)
        try:
            steps = int(value) if value.isdecimal() else int(Age().convert(value, param, ctx)) // 30
        except UsageFault as fault:
            raise UsageFault(str(fault), "write a number of steps, such as 20, or a time: 12h or 2d") from None
        if not 0 <= steps <= MOST_STEPS:
            self.fail(f"{value} is more than {MOST_STEPS} steps", param, ctx)
        return steps


# The options of every command that reads a seed file, as in wiring.seed_files.SeedFileOptions.
seed_file_options = add_options(
    click.option(
        "--seed-encoding",
        "encoding",
        type=click.Choice([Encoding.HEX.value, Encoding.BASE32.value]),
        callback=lambda _ctx, _param, value: Encoding(value) if value else None,
        help="Encoding of the seeds, if the file does not show it.",
    ),
    click.option("--unlock-stdin", is_flag=True, help="Read the file's passphrase or pre-shared key from stdin."),
    click.option(
        "--unlock-fd",
        type=click.IntRange(min=0),
        metavar="N",
        help="Read the passphrase or key from this file descriptor.",
    ),
)
WINDOW = click.option(
    "--window",
    type=Steps(),
    default=20,
    show_default=True,
    metavar="N",
    help="How far a clock may be off: steps, or a time such as 12h or 2d.",
)
CODES_STDIN = click.option("--codes-stdin", is_flag=True, help="Read the codes from stdin, one per line, oldest first.")


def dropped_rows(dropped: Sequence[DroppedRow]) -> list[ResultRow]:
    """Return a result row for each rejected row, with the fields `where` and `reason`."""
    return [{"where": row.where, "reason": row.reason} for row in dropped]


def note_dropped(dropped: Sequence[DroppedRow], progress: Progress) -> None:
    """Print each rejected row on stderr, for output forms that have no place for rejected rows."""
    for row in dropped:
        progress.alert(f"{row.where}: {row.reason}")


@click.command("import", cls=Verb)
@click.argument("file", type=FILE)
@seed_file_options
@click.option(
    "--programmable",
    type=click.IntRange(1, 128),
    metavar="OCTETS",
    help="The tokens can be programmed with seeds of up to this many octets.",
)
@click.option("--prove", metavar="SERIAL", help="Decide between hex and base32 with two codes from this token.")
@CODES_STDIN
@WINDOW
def import_tokens(
    *,
    file: Path,
    programmable: int | None,
    prove: str | None,
    codes_stdin: bool,
    window: int,
    settings: Settings,
    output: Output,
    **opening: Unpack[wiring.seed_files.SeedFileOptions],
) -> int:
    """Record the tokens of a vendor's seed FILE: serial numbers, manufacturers and parameters, but no seeds."""
    seed_file = wiring.seed_files.open_seed_file(file, opening, settings=settings)
    if prove:
        codes = wiring.seed_files.open_codes(settings, codes_stdin=codes_stdin)
        seed_file = _proved(seed_file, prove, codes=codes, window=window)
    taken = matching.settled_reading(seed_file)
    keys = [key.programmable(programmable) for key in taken.keys] if programmable else taken.keys
    counts = None if settings.dry_run else wiring.ledger.TokenRecords(settings).stock(keys, seed_file.bare)
    row: ResultRow = {
        "outcome": "planned" if counts is None else "imported",
        "format": seed_file.layout,
        "encoding": taken.encoding if taken.keys else None,
        **_usability([*(key.token for key in keys), *seed_file.bare]),
        **_stocked(counts),
        "notes": seed_file.notes,
    }
    _print_import(row, taken.dropped, output=output, settings=settings)
    return 1 if taken.dropped else 0


def _proved(seed_file: SeedFile, serial: str, *, codes: CodeSource, window: int) -> SeedFile:
    """Decide with two codes of one token whether seeds are hex or base32.

    Return the file with only the right decoding in `readings`. Raise UsageFault if the codes do not decide it.
    """
    if not any(matching.token_named(decoding.keys, serial) for decoding in seed_file.readings):
        raise UsageFault(f"this file has no seed for {serial}", "check the serial number: --prove SERIAL")

    def judge(typed: TypedCodes) -> SeedFile | Undecided:
        """Return the file with only the right decoding, or Undecided if the codes were mistyped."""
        return matching.typing_error(typed) or matching.settle_encoding(seed_file, serial, typed, window=window)

    _, verdict = codes.read(judge, count=2)
    if isinstance(verdict, Undecided):
        raise UsageFault(verdict.what, verdict.hint)
    return verdict


def _unusable(tokens: Sequence[Token]) -> Counter[str]:
    """Return how many tokens AWS cannot use for each reason."""
    return Counter(use.why for use in map(aws_use, tokens) if use.device_type is None)


def _warn_unusable(tokens: Sequence[Token], progress: Progress) -> None:
    for why, count in _unusable(tokens).most_common():
        progress.alert(f"AWS cannot use {count_of(count, 'token')} of this box: {why}")


def _usability(tokens: Sequence[Token]) -> ResultRow:
    """Return how many tokens AWS can use and, for each reason, how many it cannot use."""
    unusable = _unusable(tokens)
    return {
        "tokens": len(tokens),
        "usable_with_aws": len(tokens) - unusable.total(),
        "not_usable": [f"{count}: {why}" for why, count in unusable.most_common()],
    }


def _stocked(counts: StockCounts | None) -> ResultRow:
    return {
        "new": counts.new if counts else None,
        "known": counts.known if counts else None,
        "with_another_seed": counts.reseeded if counts else None,
    }


def _print_import(row: ResultRow, dropped: Sequence[DroppedRow], *, output: Output, settings: Settings) -> None:
    """Print a result, and each row of the seed file that mfa-kit rejected."""
    rows = dropped_rows(dropped)
    if output.form in {"json", "jsonl"}:
        output.one("token-import", {**row, "not_taken": rows})
        return
    filled = {name: value for name, value in row.items() if value not in ((), [])}
    output.one("token-import", {**filled, "not_taken": len(rows)})
    if rows and output.form == "table":
        output.text("\n")
        output.many("token-import", rows, empty="")
    elif rows:
        note_dropped(dropped, settings.progress)


@click.command("list", cls=Verb)
@click.option(
    "--verdict", type=click.Choice(["accepted", "rejected", "untested"]), help="List only tokens with this result."
)
def list_tokens(*, verdict: str | None, settings: Settings, output: Output) -> None:
    """List the inventory: each token, its test result, whether AWS can use it, and its user."""
    stocked, last = wiring.ledger.TokenRecords(settings).tokens()
    computers = wiring.ledger.TokenRecords(settings).computers()
    rows = [_stock_row(entry, last.get(entry.token.serial)) for entry in stocked if verdict in {None, entry.verdict}]
    if computers is not None:
        rows = [{**row, "computer": computers.get(str(row["serial"]))} for row in rows]
    output.many(
        "token-list",
        rows,
        empty=suggest("the inventory is empty; to fill it", "token import FILE"),
        narrow=("serial", "make", "verdict", "aws", "why", "user", "computer"),
    )


def _stock_row(entry: StockedToken, sighting: Sighting | None) -> ResultRow:
    token, use = entry.token, aws_use(entry.token)
    return {
        "serial": token.serial,
        "make": " ".join(filter(None, (token.maker, token.model))),
        "type": token.parameters,
        "verdict": entry.verdict,
        "offset_s": sighting.seconds if sighting else None,
        "read": iso_time(sighting.at) if sighting else None,
        "aws": use.device_type or "no",
        "why": entry.reason or use.why,
        "user": entry.user,
    }


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
    readings: Path | None,
    two: bool,
    window: int,
    out: Path | None,
    settings: Settings,
    output: Output,
    **opening: Unpack[wiring.seed_files.SeedFileOptions],
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
    seeds = wiring.seed_files.open_seed_file(file, opening, settings=settings)
    trial = BoxTrial(seeds, wiring.ledger.TokenRecords(settings), window=window, two=two)
    refused: Sequence[DroppedRow] = ()
    _warn_unusable(trial.tokens, settings.progress)
    if readings:
        refused = judge_readings(trial, rows)
    elif not settings.no_input:
        run_session(trial, settings.interaction, now=time.time)
    box, left_out = trial.box, trial.left_out
    try:
        _print_box(box, refused, left_out, output=output, settings=settings)
    finally:
        # Write the page even if the output is closed early, such as by a pager.
        if out:
            page = acceptance_sheet(box, name=file.name, reported_at=time.time(), missing=len(left_out))
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
