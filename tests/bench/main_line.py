"""Bench of the house: in how many files of mfa_kit functions run, between `main()` and exit, for a command in the lab.

Code that only runs while a module is imported does not count: a module's and a class's own lines. `python -m
tests.bench.main_line list` also prints each file with its functions.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import pyrage

import mfa_kit
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from tests.bench.table import Row, show

PACKAGE = Path(mfa_kit.__file__).parent
ROLE = "mfa-kit-enroll"
ACCOUNTS, USERS = 2, 3

# Runs mfa-kit, and writes the functions that ran in each of its files, in all threads.
WATCHED = """
import atexit, inspect, json, os, sys, threading
from mfa_kit.cli.main import main

ran = {}

def note(frame, event, _):
    code = frame.f_code
    if event == "call" and code.co_flags & inspect.CO_OPTIMIZED and code.co_filename.startswith(os.environ["PACKAGE"]):
        ran.setdefault(code.co_filename, {})[code.co_qualname] = None

@atexit.register
def tell():
    sys.setprofile(None)
    with open(os.environ["RAN"], "w") as file:
        json.dump({name: [*functions] for name, functions in ran.items()}, file)

threading.setprofile(note)
sys.setprofile(note)
main()
"""


class Desk:
    """A folder from which commands run in a lab."""

    def __init__(self, folder: Path, lab: Lab) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MFA_KIT_"))}
        self.ran = folder / "ran.json"
        # The program is that of this checkout, also if another one is installed.
        watched = {"PYTHONPATH": str(PACKAGE.parent), "PACKAGE": str(PACKAGE), "RAN": str(self.ran)}
        self.env = {**kept, **lab.env, "XDG_DATA_HOME": str(folder), **watched}

    def watch(self, *words: str) -> Mapping[str, Sequence[str]]:
        """Run a command, and return the functions that ran in each file, in the order of their first calls."""
        subprocess.run(
            [sys.executable, "-c", WATCHED, *words, "--quiet"],
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            check=True,
        )
        ran: dict[str, list[str]] = json.loads(self.ran.read_text("utf-8"))
        return {str(Path(name).relative_to(PACKAGE.parent)): ran[name] for name in sorted(ran)}

    def roster(self, *rows: str, columns: str) -> None:
        """Write the roster."""
        (self.folder / "roster.csv").write_text("\n".join([columns, *rows]) + "\n", "utf-8")


def _watch_one_account(folder: Path, recipient: str) -> dict[str, Mapping[str, Sequence[str]]]:
    """Return what ran for an enrollment, and for a plan of one account."""
    with Lab(users=["alice", "bob", "carol"], settings=LabSettings(propagation=0)) as lab:
        desk = Desk(folder, lab)
        enroll = ("enroll", "alice", "--with", "virtual", "--codes", "generated", "-r", recipient)
        desk.roster(f"bob,{recipient}", f"carol,{recipient}", columns="user,recipient")
        ran = {"enroll --with virtual": desk.watch(*enroll)}
        desk.watch("rollout", "plan", "roster.csv", "-o", "plan.json")
        return {**ran, "rollout apply of a plan": desk.watch("rollout", "apply", "plan.json", "-r", recipient)}


def _watch_accounts(folder: Path, recipient: str) -> dict[str, Mapping[str, Sequence[str]]]:
    """Return what ran for an index of several accounts."""
    with Lab(accounts=ACCOUNTS, users_per_account=USERS, settings=LabSettings(propagation=0)) as lab:
        desk, chosen = Desk(folder, lab), ("--org", "--role-name", ROLE)
        users = {number: account.backend.users.values() for number, account in lab.organization.items()}
        rows = [f"{number},{user.name},{recipient}" for number, people in users.items() for user in people]
        desk.roster(*rows, columns="account,user,recipient")
        desk.watch("rollout", "plan", "roster.csv", "-o", "index.json", *chosen)
        applied = desk.watch("rollout", "apply", "index.json", "-r", recipient, *chosen)
        return {"rollout apply of an index": applied}


def main() -> int:
    """Watch the commands, print the counts, and return the exit code."""
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as many:
        ran = {**_watch_one_account(Path(one), recipient), **_watch_accounts(Path(many), recipient)}
    if sys.argv[1:] == ["list"]:
        for command, files in ran.items():
            click.echo(f"== {command}: {len(files)} files")
            for name, functions in files.items():
                click.echo(f"{name}: {', '.join(functions)}")
    bounds = dict(zip(ran, (55, 70, 70), strict=True))
    return show("main line", [Row(command, len(files), "files", bounds[command]) for command, files in ran.items()])


if __name__ == "__main__":
    sys.exit(main())
