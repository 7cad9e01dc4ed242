"""What the benches share: the CPU of child processes, taken side by side, printed as a table and as JSON.

A bench is a script, `python -m tests.bench.NAME`, not a test: it prints what it measured and the bound each figure is
held to, and ends with 1 when a bound is missed. The runs of all candidates alternate, so that whatever else the machine
does falls on each alike; the least of a candidate's runs is its figure, for no process uses less CPU than it needs.
"""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import click


@dataclass(frozen=True, slots=True)
class Row:
    """One figure and the bound it is held to, in the same unit; a row without a bound is there to compare with."""

    name: str
    figure: float
    unit: str
    bound: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the figure is within its bound."""
        return self.bound is None or self.figure <= self.bound


def cpu(command: Sequence[str], env: Mapping[str, str] | None = None, *, talk: int | None = None) -> float:
    """Run a command to its end; return the CPU seconds, user and system, of it and of the children it waited for.

    `talk` is where its stderr goes, as subprocess has it.
    """
    # Compiled files are kept, as an installation keeps them: to compile is no part of a start.
    kept = {name: value for name, value in (env or os.environ).items() if name != "PYTHONDONTWRITEBYTECODE"}
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=talk, env=kept)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return usage.ru_utime + usage.ru_stime


def side_by_side(
    commands: Mapping[str, Sequence[str]], *, runs: int, env: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Run the commands in turn, once unmeasured and then `runs` times; return each one's least CPU in milliseconds."""
    for command in commands.values():
        cpu(command, env)
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            taken[name].append(cpu(command, env))
    return {name: 1000 * min(seconds) for name, seconds in taken.items()}


def show(title: str, rows: Sequence[Row]) -> int:
    """Print the table, then one line of JSON; return 1 when a bound is missed, else 0."""
    width = max(len(row.name) for row in rows)
    click.echo(f"{title} (Python {platform.python_version()}, {os.cpu_count()} processors)")
    for row in rows:
        bound = "" if row.bound is None else f"  at most {row.bound:.2f}  {'kept' if row.kept else 'MISSED'}"
        click.echo(f"  {row.name:<{width}}  {row.figure:10.2f} {row.unit}{bound}")
    click.echo(json.dumps({"bench": title, "rows": [{**asdict(row), "kept": row.kept} for row in rows]}))
    return 0 if all(row.kept for row in rows) else 1
