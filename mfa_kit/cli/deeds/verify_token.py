"""What `mfa-kit verify token` does."""

from pathlib import Path
from typing import Any

from mfa_kit import tokens
from mfa_kit.cli import flags, report, terminal
from mfa_kit.cli.deeds.token import typed
from mfa_kit.cli.kit import desk as desk_kit
from mfa_kit.cli.kit import token as kit
from mfa_kit.enrollment import user_named
from mfa_kit.errors import DeviceFault, InvalidCode, UsageFault
from mfa_kit.otp import Pair
from mfa_kit.probe import probe
from mfa_kit.seeds import Key, SeedFile, Sighting, Typed
from mfa_kit.tokens import NotShown, Shown


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
    common = flags.common()
    if find == bool(serial):
        raise UsageFault("one of SERIAL and --find is needed", "give the serial on the token, or --find")
    if codes_stdin and how["unlock_stdin"]:
        raise UsageFault("codes and a passphrase cannot share stdin", "use --unlock-fd N")
    person = terminal.person(common)
    if file is None:
        if serial is None:
            raise UsageFault("--find looks in a seed file", "name it: --seeds FILE")
        return _bare(serial, typed(person, count=2, from_stdin=codes_stdin, now=kit.now), probe_user)
    if probe_user:
        raise UsageFault(
            "--probe-user is for tokens that AWS sold, and their seeds are in no file",
            "leave --seeds or --probe-user out",
        )
    found = kit.seed_file(file, **how)
    count = 2 if find or two or len(found.readings) > 1 else 1
    codes = typed(person, count=count, from_stdin=codes_stdin, now=kit.now)
    if serial is None:
        return _found(found, codes, window=window, output=common.output)
    if len(found.readings) > 1:
        found = tokens.proved(found, serial, codes, window=window)
    keys = tokens.settled(found).keys
    key = tokens.named(keys, serial)
    if key is None:
        raise UsageFault(f"{serial} is not in {file.name}", "look at the serial, or let --find name the token")
    return _judged(key, keys, codes, window=window, output=common.output)


def _bare(serial: str, codes: Typed, probe_user: str | None) -> int:
    """Judge the display of a token that AWS sold, and let AWS judge its codes where a user is kept for that."""
    common = flags.common()
    if verdict := tokens.display(codes):
        return _tell(serial, verdict, output=common.output)
    if not probe_user or common.dry_run:
        return _tell(serial, None, output=common.output)
    with desk_kit.desk(common, vault=desk_kit.vault((), (), None)) as (desk, caller):
        try:
            probe(
                serial,
                Pair(*codes.codes),
                user=user_named(probe_user, caller=caller, inventory=desk.inventory),
                caller=caller,
                desk=desk,
                runs=lambda: desk_kit.run_id(desk.inventory),
            )
        except (DeviceFault, InvalidCode) as refused:
            return _tell(serial, NotShown(what=str(refused), hint=refused.hint), output=common.output)
    row = {"outcome": "proved", "serial": serial, "aws": "AWS knows this token and took its codes"}
    report.one("verify-token", row, output=common.output)
    return 0


def _judged(key: Key, keys: tuple[Key, ...], codes: Typed, *, window: int, output: str) -> int:
    before = kit.sightings(key)
    near = (before[-1].offset or 0) if before else 0
    verdict = tokens.verify(key, codes, among=keys, window=window, near=near)
    if isinstance(verdict, Shown):
        seen = tokens.judged(key.token.serial, verdict, at=codes.at)
        before = [*before, seen]
        if not flags.common().dry_run:
            kit.sight(key, seen)
    return _tell(key.token.serial, verdict, output=output, before=before)


def _tell(
    serial: str, verdict: Shown | NotShown | None, *, output: str, before: "list[Sighting] | tuple[()]" = ()
) -> int:
    """Print a verdict and return the exit code: 1 where the answer is no."""
    row: dict[str, Any] = {"outcome": "refused" if isinstance(verdict, NotShown) else "proved", "serial": serial}
    match verdict:
        case Shown():
            drift = tokens.drift(before, period=verdict.token.period)
            row |= {
                "clock": verdict.words(),
                "offset_steps": verdict.offset,
                "offset_s": verdict.seconds,
                "drift_s_per_day": round(drift.rate, 2) if drift else None,
                "drift_within": round(drift.within, 2) if drift else None,
                "aws": tokens.for_aws(verdict.token).why,
            }
        case NotShown():
            row |= {"reason": verdict.what, "try": verdict.hint}
        case None:
            row |= {"clock": "only its display was looked at: only AWS has its seed; --probe-user proves it"}
    report.one("verify-token", row, output=output)
    return 1 if isinstance(verdict, NotShown) else 0


def _found(file: SeedFile, codes: Typed, *, window: int, output: str) -> int:
    """Print the tokens that show two codes; in a file that may be hex or base32, of either reading."""
    if said := tokens.wrong(codes):
        return _tell("", said, output=output)
    shown = [one for each in file.readings for one in tokens.find(each.keys, codes, window=window)]
    rows = [
        {
            "serial": one.token.serial,
            "clock": one.words(),
            "offset_steps": one.offset,
            "offset_s": one.seconds,
        }
        for one in shown
    ]
    report.many(
        "verify-token-find", rows, output=output, empty=f"no token of this file shows these codes within {window} steps"
    )
    return 0 if rows else 1
