"""`mfa-kit verify token`: check a display token's codes and clock against its seed, or find a token by its codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, assert_never

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.token import CODES_STDIN, FILE, WINDOW, seed_file_options
from mfa_kit.core.errors import DeviceFault, InvalidCode, UsageFault
from mfa_kit.core.models import folded, sold_by_aws
from mfa_kit.core.otp import Pair
from mfa_kit.enrollment.planning import resolve_user
from mfa_kit.tokens import matching
from mfa_kit.tokens.aws_check import aws_use, check_with_aws
from mfa_kit.tokens.matching import CodeSource, Match, Mismatch, Undecided
from mfa_kit.tokens.seeds import (
    SeededToken,
    SeedFile,
    Sighting,
    Token,
    TokenVerdict,
    TypedCodes,
    drift_of,
    joined_reasons,
)

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.text import ResultRow
    from mfa_kit.wiring.settings import Settings


@click.command("token", cls=Verb)
@click.argument("serial", required=False)
@click.option("--seeds", "file", type=FILE, metavar="FILE", help="The vendor's seed file.")
@seed_file_options
@click.option("--find", is_flag=True, help="Find a token by two consecutive codes that it shows.")
@click.option("--two", is_flag=True, help="Ask for two consecutive codes.")
@CODES_STDIN
@WINDOW
@click.option(
    "--probe-user",
    metavar="USER",
    help="Let AWS check a token sold for AWS: assign the token to this test user, and remove it again.",
)
def verify_token(
    *,
    serial: str | None,
    file: Path | None,
    find: bool,
    two: bool,
    codes_stdin: bool,
    window: int,
    probe_user: str | None,
    settings: Settings,
    output: Output,
    **opening: Unpack[wiring.seed_files.SeedFileOptions],
) -> int:
    """Check that token SERIAL shows the codes of its seed, and print how far off its clock is."""
    if find == bool(serial):
        raise UsageFault(
            "either SERIAL or --find is required, but not both", "give the serial number on the token, or --find"
        )
    if codes_stdin and opening["unlock_stdin"]:
        raise UsageFault(
            "codes and a passphrase cannot both be read from stdin", "use --unlock-fd N for the passphrase"
        )
    codes = wiring.seed_files.open_codes(settings, codes_stdin=codes_stdin)
    if file is None:
        if serial is None:
            raise UsageFault("--find needs a seed file to search", "add --seeds FILE")
        return _verify_without_seed(serial, probe_user, codes=codes, settings=settings, output=output)
    if probe_user:
        raise UsageFault(
            "--probe-user is for tokens that AWS sold, which have no seed file",
            "omit --seeds or --probe-user",
        )
    seed_file = wiring.seed_files.open_seed_file(file, opening, settings=settings)
    if serial is None:
        return _find_token(seed_file, codes=codes, window=window, output=output)
    _check_listed(seed_file, serial, file=file)
    return _verify_with_seed(serial, seed_file, codes=codes, two=two, window=window, settings=settings, output=output)


def _check_listed(seed_file: SeedFile, serial: str, *, file: Path) -> None:
    """Raise UsageFault unless the file has a seed for the token with this serial."""
    if any(folded(token.serial) == folded(serial) for token in seed_file.bare):
        raise UsageFault(f"{file.name} has no seed of token {serial}, because only AWS has that seed", "omit --seeds")
    if not any(matching.token_named(decoding.keys, serial) for decoding in seed_file.readings):
        lost = joined_reasons(seed_file.readings[0].dropped if seed_file.readings else ())
        raise UsageFault(
            f"token {serial} is not in {file.name}{lost and f'; rows that cannot be used: {lost}'}",
            "check the serial number, or find the token with --find",
        )


def _verify_without_seed(
    serial: str, probe_user: str | None, *, codes: CodeSource, settings: Settings, output: Output
) -> int:
    """Check the display of a token that AWS sold, and return the exit code.

    With `probe_user`, AWS also checks the codes, except in a dry run. Without `probe_user`, raise UsageFault unless the
    serial looks like the serial of a token sold for AWS.
    """
    if not probe_user and not sold_by_aws(serial):
        raise UsageFault(
            f"{serial} does not look like the serial of a token that AWS sold, and no seed file was given",
            "add --seeds FILE, or let AWS check the token: --probe-user USER",
        )
    typed, verdict = codes.read(matching.judge_display, count=2)
    if verdict or not probe_user or settings.dry_run:
        return _print(serial, verdict, output=output)
    sold, records = Token(serial=serial, maker="sold by AWS"), wiring.ledger.TokenRecords(settings)
    with wiring.ports.open_ports(settings, store=wiring.stores.open_backup_store(settings)) as (ports, caller):
        try:
            check_with_aws(
                serial,
                Pair(*typed.codes),
                user=resolve_user(probe_user, caller=caller, iam_reader=ports.iam_reader),
                caller=caller,
                ports=ports,
                runs=lambda: wiring.ports.new_run_id(ports.iam_reader),
            )
        except (DeviceFault, InvalidCode) as error:
            refused = Mismatch(what=str(error), hint=error.hint)
            stored = records.keep(sold, None, matching.sighting_of(serial, refused, time=typed.at))
            return _print(serial, refused, stored=stored, output=output)
    why = "AWS knows this token and accepted its codes"
    taken = Sighting(serial=serial, at=typed.at, verdict=TokenVerdict.ACCEPTED, reason=why)
    stored = records.keep(sold, None, taken)
    output.one("verify-token", {"outcome": "proved", "serial": serial, "aws": why, "kept": stored})
    return 0


def _judged(
    seed_file: SeedFile, serial: str, typed: TypedCodes, *, records: wiring.ledger.TokenRecords, window: int
) -> tuple[SeededToken, Match | Mismatch] | Undecided:
    """Check the codes of a token against its seed, and return the token with the result.

    Return Undecided if the codes were mistyped or prove nothing. Raise UsageFault if the codes do not decide whether
    the seed is hex or base32.
    """
    if mistyped := matching.typing_error(typed):
        return mistyped
    file = (
        matching.settle_encoding(seed_file, serial, typed, window=window) if len(seed_file.readings) > 1 else seed_file
    )
    keys = matching.settled_reading(file).keys
    key = next(key for key in keys if folded(key.token.serial) == folded(serial))
    before = records.sightings_of(key)
    near = before[-1].offset if before else None
    verdict = matching.verify_codes(key, typed, among=keys, window=window, near=near)
    return verdict if isinstance(verdict, Undecided) else (key, verdict)


def _verify_with_seed(
    serial: str, file: SeedFile, *, codes: CodeSource, two: bool, window: int, settings: Settings, output: Output
) -> int:
    """Check codes of a token against its seed, record the result except in a dry run, and return the exit code."""
    records = wiring.ledger.TokenRecords(settings)
    typed, answer = codes.read(
        lambda typed: _judged(file, serial, typed, records=records, window=window),
        count=2 if two or len(file.readings) > 1 else 1,
    )
    if isinstance(answer, Undecided):
        return _print(serial, answer, output=output)
    key, verdict = answer
    sighting = matching.sighting_of(key.token.serial, verdict, time=typed.at)
    sightings = [*records.sightings_of(key), sighting]
    stored = not settings.dry_run and records.keep(key.token, key.seed, sighting)
    clock = _clock(verdict, sightings, records) if isinstance(verdict, Match) else None
    return _print(key.token.serial, verdict, clock=clock, stored=stored, output=output)


def _print(
    serial: str,
    verdict: Match | Mismatch | Undecided | None,
    *,
    output: Output,
    clock: ResultRow | None = None,
    stored: bool = False,
) -> int:
    """Print a verdict, and return the exit code: 1 for Mismatch and Undecided, otherwise 0.

    `clock` has the cells about the token's clock, if its codes match.
    """
    named: ResultRow = {"serial": serial} if serial else {}
    match verdict:
        case Match():
            row: ResultRow = {"outcome": "proved", **named, **(clock or {})}
        case Mismatch() | Undecided():
            outcome = "refused" if isinstance(verdict, Mismatch) else "undecided"
            row = {"outcome": outcome, **named, "reason": verdict.what, "try": verdict.hint}
        case None:
            row = {
                "outcome": "display-only",
                **named,
                "checked": "the token shows two different codes of six digits",
                "not_checked": "whether AWS accepts the codes; only AWS has the seed, so add --probe-user USER",
            }
        case _:
            assert_never(verdict)
    output.one("verify-token", {**row, "kept": stored})
    return 1 if isinstance(verdict, Mismatch | Undecided) else 0


def _clock(shown: Match, sightings: Sequence[Sighting], records: wiring.ledger.TokenRecords) -> ResultRow:
    """Return the cells about a token's clock, and the cell `aws`, which says whether AWS can use the token.

    The clock's offset is given in seconds and in time steps of the token.
    """
    drift = drift_of(sightings, period=shown.token.period)
    token = replace(shown.token, capacity=records.capacity_of(shown.token.serial))
    return {
        "clock": shown.words(),
        "offset_steps": shown.offset,
        "offset_s": shown.seconds,
        "drift_s_per_day": round(drift.rate, 2) if drift else None,
        "drift_within": round(drift.within, 2) if drift else None,
        "aws": aws_use(token).why,
    }


def _find_token(file: SeedFile, *, codes: CodeSource, window: int, output: Output) -> int:
    """Print the tokens that show two codes, and return the exit code: 1 if no token shows them, otherwise 0.

    If the file does not show whether the seeds are hex or base32, both decodings are searched.
    """

    def judge(typed: TypedCodes) -> list[Match] | Undecided:
        """Return the tokens that show these codes, or Undecided if the codes were mistyped."""
        return matching.typing_error(typed) or [
            match for decoding in file.readings for match in matching.find_tokens(decoding.keys, typed, window=window)
        ]

    _, shown = codes.read(judge, count=2)
    if isinstance(shown, Undecided):
        return _print("", shown, output=output)
    rows: list[ResultRow] = [
        {"serial": match.token.serial, "clock": match.words(), "offset_steps": match.offset, "offset_s": match.seconds}
        for match in shown
    ]
    empty = f"no token of this file shows these codes, even if its clock is off by up to {window} steps"
    output.many("verify-token-find", rows, empty=empty)
    return 0 if rows else 1
