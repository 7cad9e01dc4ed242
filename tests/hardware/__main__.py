"""Try a real key, and print a report that its owner can paste into a bug report.

    python -m tests.hardware                            reads only: what the key says of itself
    python -m tests.hardware --contract                 writes and deletes OATH credentials of its own; makes FIDO
                                                        credentials that the key does not keep
    python -m tests.hardware --contract --erase NAME    also the rows about PIN, password and a full key. ERASES the key
    python -m tests.hardware --writes                   ERASES the key: sets and changes a PIN, touches it, resets it

Connect exactly one key. --erase names its serial number or its place, as the report without options shows them.
--writes and --erase refuse a key that is not blank: that has a PIN, a credential, a code or a password. They look once
more after you confirmed. Passkeys of a key without a PIN can be counted only after a PIN was set. If there are any, or
they cannot be counted, nothing is erased, and the terminal shows the new PIN.
--contract goes on after a row that differs; --writes stops at the first step that fails.
Serial numbers and identifiers of the key are replaced in the report, unless you give --show-serial.
"""

import argparse
import json
import platform
import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from mfa_kit.core.errors import DeviceFault
from tests.hardware import contract, fido, oath
from tests.hardware.rows import Person, Verdict, as_json, table

LIBRARIES = ("fido2", "yubikey-manager", "pyscard", "cryptography")
WORD = "ERASE"
TRY = "TRY"
QUESTION = f"""
This writes credentials named mfa-kit-contract:... to the OATH key and deletes them, and makes FIDO credentials that the
key does not keep. It changes no PIN, no password and no other credential. But faulty firmware could lose a credential
when another is written: use a key that you can lose. You touch it about six times when you are asked, and three times
you leave it alone for up to 35 s. Type {TRY} to continue, or anything else to stop: """
WARNING = f"""
!!! This erases the connected key: all its passkeys, its PIN, and its U2F registrations. Nothing can bring them back.
!!! Use only a blank key that you can lose. Type {WORD} to continue, or anything else to stop: """
# These fields identify one key. A report needs only its model.
PRIVATE = {"serial", "oath_identity", "users", "computers", "credentials"}
# What --writes wants of a blank key: a field of `key info`, and the values that are blank.
BLANK = {
    "fido_pin": (False, None),
    "fido_resident_used": (0, None),
    "oath_used": (0, None),
    "oath_password": (False, None),
}

# A field that `key info` has only of a key with this half.
HALVES = {"oath": "oath_used", "fido": "fido_pin"}


@dataclass(frozen=True, slots=True)
class Done:
    """A command that was run: its exit code, and what it printed."""

    code: int
    out: str
    err: str


# Runs mfa-kit with arguments and an input, as `run_program` does.
Run = Callable[[Sequence[str], str], Done]
# The steps that read: arguments of mfa-kit, and what the step settles.
READS: tuple[tuple[Sequence[str], str], ...] = (
    (("key", "list", "--output", "json"), "the key is found on USB and in readers, and is one row"),
    (("key", "info", "--no-input", "--output", "json"), "its names, firmware, options and limits are read"),
)


def run_program(arguments: Sequence[str], stdin: str) -> Done:
    """Run mfa-kit as a program. Its messages also appear on the terminal, because some ask for a touch."""
    command = [sys.executable, "-m", "mfa_kit", *arguments]
    done = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.stdin and done.stdout and done.stderr  # noqa: PT018 - all three are pipes
    done.stdin.write(stdin)
    done.stdin.close()
    said = []
    for line in done.stderr:
        click.echo(line, nl=False, err=True)
        said.append(line)
    out = done.stdout.read()
    return Done(done.wait(), out, "".join(said))


@dataclass(frozen=True, slots=True)
class Step:
    """A command that changes the key, or shows whether it did: its arguments, its input, and what it settles.

    `blank` is None, or names the fields of `key info` that need not be blank in the answer.
    """

    words: Sequence[str]
    stdin: str
    settles: str
    blank: tuple[str, ...] | None = None


def writes(key: str, pin: str, other: str) -> Iterator[Step]:
    """Yield the steps that change the key with this serial or place. Credentials can be counted only with a PIN."""
    which = ("--key", key, "--output", "json")
    stdin = (*which, "--pin-stdin")
    yield Step(("key", "pin", "set", *stdin), f"{pin}\n", "a first PIN is set")
    yield Step(("key", "info", "--count", *stdin), f"{pin}\n", "credentials are counted: there are none", ("fido_pin",))
    yield Step(("verify", "fido2", *stdin), f"{pin}\n", "touch and PIN work; its attestation")
    yield Step(("key", "pin", "change", *stdin), f"{pin}\n{other}\n", "the PIN is changed")
    yield Step(("key", "info", "--count", *stdin), f"{other}\n", "the key has the other PIN", ("fido_pin",))
    yield Step(("key", "reset", "--yes", "--erase-oath", *which), "", "the key is erased after it is plugged in again")
    yield Step(READS[-1][0], "", "the erased key is blank", ())


def public(text: str, pins: Sequence[str] = (), *, show: bool = False) -> str:
    """Return what a step printed without PINs and, unless `show` is true, without the values that identify the key."""
    if show:
        return text.strip()
    try:
        kept: Any = json.loads(text)
    except ValueError:
        kept = None
    if isinstance(kept, dict):
        text = json.dumps(_hidden(kept), indent=1, ensure_ascii=False)
    for pin in pins:
        text = text.replace(pin, "<PIN>")
    return re.sub(r"\b\d{7,}\b", "<number>", text).strip()


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: "<hidden>" if name in PRIVATE and each else _hidden(each) for name, each in value.items()}
    return [_hidden(each) for each in value] if isinstance(value, list) else value


def not_blank(info: str, *, oath_alone: bool = False) -> list[str]:
    """Return the fields of `key info` that show that a key is in use. A key that cannot be read is not blank.

    With `oath_alone`, a key without FIDO can be blank too.
    """
    try:
        row = json.loads(info)
    except ValueError:
        return ["key info"]
    if "fido_pin" not in row and not (oath_alone and "oath_used" in row):
        return ["fido_pin"]
    return [name for name, blank in BLANK.items() if row.get(name) not in blank]


def header() -> Iterator[str]:
    """Yield what the report says of this computer: systems and versions, no names."""
    yield "## Report of python -m tests.hardware\n"
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "") if sys.platform == "linux" else ""
    yield f"- system: {platform.system()} {platform.release()} {platform.machine()} {system}".rstrip()
    yield f"- Python {platform.python_version()}, mfa-kit {version('mfa-kit')}"
    for name in LIBRARIES:
        try:
            yield f"- {name} {version(name)}"
        except PackageNotFoundError:
            yield f"- {name} is not installed"


def section(arguments: Sequence[str], settles: str, done: Done, pins: Sequence[str] = (), *, show: bool = False) -> str:
    """Return the part of the report about one step."""
    parts = (public(done.out, pins, show=show), public(done.err, pins, show=show))
    said = "\n".join(part for part in parts if part)
    title = f"`mfa-kit {public(shlex.join(arguments))}`: exit code {done.code}"
    return f"\n### {title}\n\nSettles: {settles}.\n\n```text\n{said}\n```"


def ask_person(question: str) -> str:
    """Ask on stderr, because stdout may be a file with the report. Without an answer, return ""."""
    click.echo(question, nl=False, err=True)
    with suppress(EOFError):
        return input()
    return ""


def leave(reason: str) -> int:
    """Say why the key was not changed, and return the exit code for it."""
    click.echo(f"the key is left as it is, because {reason}", err=True)
    return 2


def why_erased_not(info: str, run: Run, ask: Callable[[str], str], *, oath_alone: bool = False) -> str | None:
    """Ask whether the key whose `key info` was `info` may be erased. Return why not, or None if it may."""
    if used := not_blank(info, oath_alone=oath_alone):
        return f"it is not blank: {', '.join(used)}"
    if ask(WARNING) != WORD:
        return f"you did not type {WORD}"
    # While the question waited, the key may have been used, or exchanged for another one.
    again = run(READS[-1][0], "")
    if again.code or (used := not_blank(again.out, oath_alone=oath_alone)):
        return f"it is no longer blank: {', '.join(used) or 'it cannot be read'}"
    return None if again.out == info else "it is not the key that was read before"


def why_tried_not(info: str, name: str | None, run: Run, ask: Callable[[str], str]) -> str | None:
    """Ask whether the contract may be tried on a key. Return why not, or None if it may.

    `info` is its `key info`, and `name` the serial number or place of the key that may be erased, or None.
    """
    if name is None:
        if ask(QUESTION) != TRY:
            return f"you did not type {TRY}"
        return None if run(READS[-1][0], "").out == info else "it is not the key that was read before"
    row = json.loads(info)
    if name not in {row.get("serial"), *row.get("where", ())}:
        return f"it is not {name}"
    return why_erased_not(info, run, ask, oath_alone=True)


def at_key(*, may_touch: bool) -> None:
    """Tell the person whether the next request may be answered with a touch."""
    click.echo("touch the key when you are asked" if may_touch else "do NOT touch the key for the next 35 s", err=True)


def try_contract(info: str, given: argparse.Namespace, run: Run, ask: Callable[[str], str]) -> int:
    """Try the contracts and print what the key did. Return 1 if a row differs, 2 if the key may not be used."""
    if why := why_tried_not(info, given.erase, run, ask):
        return leave(why)
    tell = partial(click.echo, err=True)
    try:
        key = contract.find_key(tell)
    except DeviceFault as fault:
        return leave(str(fault))

    def erase() -> str:
        done = run(("key", "reset", "--yes", "--erase-oath", "--key", key.fido or "", "--output", "json"), "")
        if done.code:
            raise DeviceFault(
                next(iter(public(done.err).splitlines()), "the reset failed"), "reset the key with mfa-kit key reset"
            )
        return contract.find_key(tell).fido or ""

    if given.erase:
        pins = " or ".join(pin.reveal() for pin in (fido.FIRST, fido.SECOND))
        tell(f"if this ends early, the key may have the PIN {pins}, or the OATH password {oath.PASSWORD}")
    rows = []
    touch = None if given.alone else lambda wanted: at_key(may_touch=wanted)
    blank = given.erase is not None
    halves = [half for half, part in HALVES.items() if part in json.loads(info)]
    erasing = erase if blank and "fido" in halves else None
    for row in contract.try_key(key, Person(tell, touch), halves=halves, blank=blank, erase=erasing):
        tell(f"{row.row}: {row.verdict}")
        rows.append(replace(row, did=public(row.did, show=given.show_serial)))
    if given.json:
        click.echo(as_json([*header()], json.loads(public(info, show=given.show_serial)), rows))
    else:
        click.echo(f"\n### Contract\n\n{table(rows)}")
    return int(any(row.verdict is Verdict.DIFFERS for row in rows))


def try_writes(info: str, run: Run, ask: Callable[[str], str]) -> int:
    """Run the steps that change the key whose `key info` was `info`, up to the first that fails.

    Return 0 if all worked, 1 if one failed, and 2 if the key may not be erased.
    """
    if why := why_erased_not(info, run, ask):
        return leave(why)
    pins = (f"{secrets.randbelow(10**8):08}", f"{secrets.randbelow(10**8):08}")
    for step in writes(json.loads(info)["where"][0], *pins):
        done = run(step.words, step.stdin)
        click.echo(section(step.words, step.settles, done, pins))
        left = [] if step.blank is None else [name for name in not_blank(done.out) if name not in step.blank]
        # 1 is an answer: without --mds, `verify` cannot prove who made the key.
        if done.code > 1 or left:
            reason = f"the key is not blank: {', '.join(left)}" if left else "this step failed"
            click.echo(f"\nNo later step was run, because {reason}.")
            # Only on the terminal, not in the report: without its PIN, a key that turns out to be in use is lost.
            click.echo(f"if the key has a PIN now, it is {' or '.join(pins)}", err=True)
            return 1
    return 0


def main(arguments: Sequence[str] | None = None, run: Run = run_program, ask: Callable[[str], str] = ask_person) -> int:
    """Print the report. Return 1 if a step failed or a row differs, 2 if the key may not be used."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    either = options.add_mutually_exclusive_group()
    either.add_argument("--writes", action="store_true", help="ERASE the key, which has to be blank")
    either.add_argument("--contract", action="store_true", help="try what mfa-kit relies on, row by row")
    options.add_argument("--erase", metavar="NAME", help="with --contract: ERASE the key NAME, which has to be blank")
    options.add_argument("--alone", action="store_true", help="with --contract: nobody can touch the key")
    options.add_argument("--json", action="store_true", help="with --contract: print the rows as JSON only")
    options.add_argument("--show-serial", action="store_true", help="keep serial numbers and identifiers in the report")
    given = options.parse_args(arguments)
    if (given.erase or given.alone or given.json) and not given.contract:
        options.error("--erase, --alone and --json belong to --contract")
    said = [*header()]
    failed, info = False, ""
    for words, settles in READS:
        done = run(words, "")
        said.append(section(words, settles, done, show=given.show_serial))
        failed, info = failed or done.code != 0, done.out
    if not (given.contract and given.json):
        click.echo("\n".join(said))
    if not given.writes and not given.contract:
        return int(failed)
    if failed:
        return leave("a step failed")
    return try_contract(info, given, run, ask) if given.contract else try_writes(info, run, ask)


if __name__ == "__main__":
    sys.exit(main())
