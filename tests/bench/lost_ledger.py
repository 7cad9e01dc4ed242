"""Bench of a rollout whose ledger is lost: what `rollout status` and `handover` take with the records of the runs.

With an intact ledger, the records must cost no call and little CPU. With a lost ledger, there is one list of devices.
`python -m tests.bench.lost_ledger` compares them in turn, for 5,000 users who are enrolled.
"""

import shutil
import sys
from pathlib import Path

from tests.bench.canned import Canned
from tests.bench.rollout import Desk, Used, desk, ended, names
from tests.bench.table import Row, show

USERS, RUNS = 5000, 3
STATUS = ("rollout", "status", "plan.json", "--output", "jsonl")


def measured(iam: Canned, one: Desk, *command: str) -> tuple[Used, int]:
    """Run a command several times. Return the lowest resources that it used, and its number of calls."""
    runs, before = [], iam.calls
    for number in range(RUNS):
        letters = ("-o", f"letters-{number}") if "handover" in command else ()
        runs.append(ended(one.start(*command, *letters)))
        if letters:
            shutil.rmtree(one.folder / letters[1])
    return min(runs, key=lambda used: used.cpu), (iam.calls - before) // RUNS


def ledger_and_records() -> list[Row]:
    """Measure status and handover without records, with records, and with records but without the ledger."""
    rows: list[Row] = []
    with Canned(names(USERS)) as iam, desk(iam.env) as one:
        ended(one.plan(names(USERS)))
        ended(one.apply())
        home, results, aside = Path(one.env["MFA_KIT_HOME"]), one.folder / "plan-results", one.folder / "aside"
        for command in (STATUS, ("rollout", "handover", "plan.json")):
            what = f"{command[1]} for {USERS:,} users"
            results.rename(aside)
            plain, calls = measured(iam, one, *command)
            aside.rename(results)
            used, calls_with = measured(iam, one, *command)
            kept = [path for path in home.iterdir() if path.name != "backups"]
            moved = {path: one.folder / f"kept-{path.name}" for path in kept}
            for path, place in moved.items():
                path.rename(place)
            lost, calls_lost = measured(iam, one, *command)
            for path in [path for path in home.iterdir() if path.name != "backups"]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            for path, place in moved.items():
                place.rename(path)
            rows += [
                Row(f"{what}, CPU, without records", plain.cpu, "s"),
                Row(f"{what}, CPU, with records", used.cpu, "s", 1.25 * plain.cpu),
                Row(f"{what}, CPU, ledger lost", lost.cpu, "s"),
                Row(f"{what}, calls with records, more than without", calls_with - calls, "calls", 0),
                Row(f"{what}, calls with the ledger lost, more than without", calls_lost - calls, "calls", 1),
            ]
    return rows


def main() -> int:
    """Print the table. Return 1 when a bound is missed."""
    return show("a lost ledger", ledger_and_records())


if __name__ == "__main__":
    sys.exit(main())
