"""What `mfa-kit verify token` does."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, assert_never

from mfa_kit.cli import options, output
from mfa_kit.cli.deeds.token import asked, from_stdin, one_of
from mfa_kit.core.errors import DeviceFault, InvalidCode, UsageFault
from mfa_kit.core.otp import Pair
from mfa_kit.enrollment.enroll import user_named
from mfa_kit.tokens import matching
from mfa_kit.tokens.aws_check import check_with_aws
from mfa_kit.tokens.matching import Match, Mismatch, Undecided
from mfa_kit.tokens.seeds import (
    SeededToken,
    SeedFile,
    Sighting,
    Token,
    TokenVerdict,
    TypedCodes,
    folded,
    joined_reasons,
    sold_by_aws,
)
from mfa_kit.wiring import desk as desk_kit
from mfa_kit.wiring import token as kit

T = TypeVar("T")


def token(
    serial: str | None,
    file: Path | None,
    *,
    find: bool,
    two: bool,
    codes_stdin: bool,
    window: int,
    probe_user: str | None,
    **how: Any,
) -> int:
    """Read codes, judge them, print the answer; return 1 where it is no."""
    if find == bool(serial):
        raise UsageFault("one of SERIAL and --find is needed", "give the serial on the token, or --find")
    if codes_stdin and how["unlock_stdin"]:
        raise UsageFault("codes and a passphrase cannot share stdin", "use --unlock-fd N")
    if file is None:
        if serial is None:
            raise UsageFault("--find looks in a seed file", "name it: --seeds FILE")
        return _bare(serial, probe_user, codes_stdin=codes_stdin)
    if probe_user:
        raise UsageFault(
            "--probe-user is for tokens that AWS sold, and their seeds are in no file",
            "leave --seeds or --probe-user out",
        )
    found = kit.seed_file(file, **how)
    if serial is None:
        return _found(found, codes_stdin=codes_stdin, window=window)
    if any(folded(each.serial) == folded(serial) for each in found.bare):
        raise UsageFault(f"{file.name} has no seed of {serial}, for only AWS has it", "leave --seeds out")
    if not any(matching.token_named(each.keys, serial) for each in found.readings):
        lost = joined_reasons(found.readings[0].dropped if found.readings else ())
        raise UsageFault(
            f"{serial} is not in {file.name}{lost and f'; its rows that were not taken: {lost}'}",
            "look at the serial, or let --find name the token",
        )
    count = 2 if two or len(found.readings) > 1 else 1
    return _judged(found, serial, count=count, codes_stdin=codes_stdin, window=window)


def _read(
    judge: Callable[[TypedCodes], T | Undecided], *, count: int, codes_stdin: bool
) -> tuple[TypedCodes, T | Undecided]:
    if codes_stdin:
        return from_stdin(judge, count=count)
    return one_of(asked(options.common().interaction, judge, count=count))


def _bare(serial: str, probe_user: str | None, *, codes_stdin: bool) -> int:
    """Judge the display of a token that AWS sold, and let AWS judge its codes where a user is kept for that."""
    common = options.common()
    if not probe_user and not sold_by_aws(serial):
        raise UsageFault(
            f"{serial} does not look like a token that AWS sold, so nothing is known of it but its seed file",
            "name that: --seeds FILE; or let AWS judge: --probe-user USER",
        )
    codes, verdict = _read(matching.judge_display, count=2, codes_stdin=codes_stdin)
    if verdict or not probe_user or common.dry_run:
        return _tell(serial, verdict)
    sold = Token(serial=serial, maker="sold by AWS")
    with desk_kit.open_desk(common) as (desk, caller):
        try:
            check_with_aws(
                serial,
                Pair(*codes.codes),
                user=user_named(probe_user, caller=caller, inventory=desk.inventory),
                caller=caller,
                desk=desk,
                runs=lambda: desk_kit.new_run_id(desk.inventory),
            )
        except (DeviceFault, InvalidCode) as error:
            refused = Mismatch(what=str(error), hint=error.hint)
            return _tell(
                serial, refused, kept=kit.sight(sold, None, matching.sighting_of(serial, refused, at=codes.at))
            )
    taken = Sighting(
        serial=serial, at=codes.at, verdict=TokenVerdict.ACCEPTED, reason="AWS knows it and took its codes"
    )
    row = {"outcome": "proved", "serial": serial, "aws": taken.reason, "kept": kit.sight(sold, None, taken)}
    output.one("verify-token", row, output=options.form())
    return 0


def _judged(found: SeedFile, serial: str, *, count: int, codes_stdin: bool, window: int) -> int:
    """Judge the codes of a token by its seed, and keep what they decide."""

    def judge(codes: TypedCodes) -> tuple[SeededToken, Match | Mismatch] | Undecided:
        if mistyped := matching.typing_error(codes):
            return mistyped
        file = matching.settle_encoding(found, serial, codes, window=window) if len(found.readings) > 1 else found
        keys = matching.settled_reading(file).keys
        key = next(each for each in keys if folded(each.token.serial) == folded(serial))
        before = kit.sightings(key)
        near = (before[-1].offset or 0) if before else 0
        verdict = matching.verify_codes(key, codes, among=keys, window=window, near=near)
        return verdict if isinstance(verdict, Undecided) else (key, verdict)

    codes, answer = _read(judge, count=count, codes_stdin=codes_stdin)
    if isinstance(answer, Undecided):
        return _tell(serial, answer)
    key, verdict = answer
    seen = matching.sighting_of(key.token.serial, verdict, at=codes.at)
    before = [*kit.sightings(key), seen]
    kept = not options.common().dry_run and kit.sight(key.token, key.seed, seen)
    return _tell(key.token.serial, verdict, before=before, kept=kept)


def _tell(
    serial: str,
    verdict: Match | Mismatch | Undecided | None,
    *,
    before: Sequence[Sighting] = (),
    kept: bool = False,
) -> int:
    """Print a verdict and return the exit code: 1 where the answer is not yes."""
    row: dict[str, Any] = {"serial": serial} if serial else {}
    match verdict:
        case Match():
            drift = matching.drift(before, period=verdict.token.period)
            row = (
                {"outcome": "proved"}
                | row
                | {
                    "clock": verdict.words(),
                    "offset_steps": verdict.offset,
                    "offset_s": verdict.seconds,
                    "drift_s_per_day": round(drift.rate, 2) if drift else None,
                    "drift_within": round(drift.within, 2) if drift else None,
                    "aws": matching.aws_use(replace(verdict.token, capacity=kit.capacity(verdict.token.serial))).why,
                }
            )
        case Mismatch():
            row = {"outcome": "refused"} | row | {"reason": verdict.what, "try": verdict.hint}
        case Undecided():
            row = {"outcome": "undecided"} | row | {"reason": verdict.what, "try": verdict.hint}
        case None:
            row = (
                {"outcome": "display-only"}
                | row
                | {
                    "checked": "it shows two different codes of six digits",
                    "not_checked": "whether they are right: only AWS has its seed; --probe-user USER lets AWS judge",
                }
            )
        case _:
            assert_never(verdict)
    output.one("verify-token", row | {"kept": kept}, output=options.form())
    return 1 if isinstance(verdict, Mismatch | Undecided) else 0


def _found(file: SeedFile, *, codes_stdin: bool, window: int) -> int:
    """Print the tokens that show two codes; in a file that may be hex or base32, of either reading."""

    def judge(codes: TypedCodes) -> list[Match] | Undecided:
        return matching.typing_error(codes) or [
            one for each in file.readings for one in matching.find_tokens(each.keys, codes, window=window)
        ]

    _, shown = _read(judge, count=2, codes_stdin=codes_stdin)
    if isinstance(shown, Undecided):
        return _tell("", shown)
    rows = [
        {
            "serial": one.token.serial,
            "clock": one.words(),
            "offset_steps": one.offset,
            "offset_s": one.seconds,
        }
        for one in shown
    ]
    empty = f"no token of this file shows these codes within {window} steps"
    output.many("verify-token-find", rows, output=options.form(), empty=empty)
    return 0 if rows else 1
