"""Try a real key, and print a report that its owner can paste into a bug report.

    python -m tests.hardware             reads only: what the key says of itself
    python -m tests.hardware --writes    ERASES the key: sets and changes a PIN, touches it, and resets it

Connect exactly one key. --writes refuses a key that is not blank: that has a PIN, a credential, a code or a password.
It looks once more after you confirmed, and stops at the first step that fails. Serial numbers and identifiers of the
key are replaced in the report.
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
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

LIBRARIES = ("fido2", "yubikey-manager", "pyscard", "cryptography")
WORD = "ERASE"
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


def public(text: str, pins: Sequence[str] = ()) -> str:
    """Return what a step printed without PINs and without the values that identify the key."""
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


def not_blank(info: str) -> list[str]:
    """Return the fields of `key info` that show that a key is in use. A key that cannot be read is not blank."""
    try:
        row = json.loads(info)
    except ValueError:
        return ["key info"]
    if "fido_pin" not in row:
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


def section(arguments: Sequence[str], settles: str, done: Done, pins: Sequence[str] = ()) -> str:
    """Return the part of the report about one step."""
    said = "\n".join(part for part in (public(done.out, pins), public(done.err, pins)) if part)
    title = f"`mfa-kit {public(shlex.join(arguments))}`: exit code {done.code}"
    return f"\n### {title}\n\nSettles: {settles}.\n\n```text\n{said}\n```"


def ask_person(question: str) -> str:
    """Ask on stderr, because stdout may be a file with the report."""
    click.echo(question, nl=False, err=True)
    return input()


def leave(reason: str) -> int:
    """Say why the key was not changed, and return the exit code for it."""
    click.echo(f"the key is left as it is, because {reason}", err=True)
    return 2


def try_writes(info: str, run: Run, ask: Callable[[str], str]) -> int:
    """Run the steps that change the key whose `key info` was `info`, up to the first that fails.

    Return 0 if all worked, 1 if one failed, and 2 if the key may not be erased.
    """
    if used := not_blank(info):
        return leave(f"it is not blank: {', '.join(used)}")
    if ask(WARNING) != WORD:
        return leave(f"you did not type {WORD}")
    # While the question waited, the key may have been used, or exchanged for another one.
    again = run(READS[-1][0], "")
    if again.code or (used := not_blank(again.out)):
        return leave(f"it is no longer blank: {', '.join(used) or 'it cannot be read'}")
    if again.out != info:
        return leave("it is not the key that was read before")
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
    """Print the report. Return 1 if a step failed, 2 if the key may not be erased."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--writes", action="store_true", help="ERASE the key, which has to be blank")
    given = options.parse_args(arguments)
    for line in header():
        click.echo(line)
    failed, info = False, ""
    for words, settles in READS:
        done = run(words, "")
        click.echo(section(words, settles, done))
        failed, info = failed or done.code != 0, done.out
    if not given.writes:
        return int(failed)
    return leave("a step failed") if failed else try_writes(info, run, ask)


if __name__ == "__main__":
    sys.exit(main())
