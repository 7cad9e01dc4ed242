"""`mfa-kit token import`: read a seed file into the inventory.

Seeds are not stored. Each command that needs them reads the vendor's file again.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.token.seed_options import CODES_STDIN, FILE, WINDOW, dropped_rows, note_dropped, seed_file_options
from mfa_kit.core.errors import UsageFault
from mfa_kit.tokens import matching
from mfa_kit.tokens.aws_check import aws_use
from mfa_kit.tokens.matching import CodeSource, Undecided
from mfa_kit.tokens.seeds import DroppedRow, Encoding, SeedFile, StockCounts, Token, TypedCodes
from mfa_kit.wiring.settings import Settings


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
    encoding: Encoding | None,
    unlock_stdin: bool,
    unlock_fd: int | None,
    programmable: int | None,
    prove: str | None,
    codes_stdin: bool,
    window: int,
    settings: Settings,
    output: Output,
) -> int:
    """Record the tokens of a vendor's seed FILE: serial numbers, manufacturers and parameters, but no seeds."""
    opening = wiring.seed_files.SeedFileOptions(encoding=encoding, unlock_stdin=unlock_stdin, unlock_fd=unlock_fd)
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
    _print(row, taken.dropped, output=output, settings=settings)
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


def _usability(tokens: Sequence[Token]) -> ResultRow:
    """Return how many tokens AWS can use and, for each reason, how many it cannot use."""
    uses = [aws_use(token) for token in tokens]
    unusable = Counter(use.why for use in uses if use.device_type is None)
    return {
        "tokens": len(uses),
        "usable_with_aws": len(uses) - unusable.total(),
        "not_usable": [f"{count}: {why}" for why, count in unusable.most_common()],
    }


def _stocked(counts: StockCounts | None) -> ResultRow:
    return {
        "new": counts.new if counts else None,
        "known": counts.known if counts else None,
        "with_another_seed": counts.reseeded if counts else None,
    }


def _print(row: ResultRow, dropped: Sequence[DroppedRow], *, output: Output, settings: Settings) -> None:
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
