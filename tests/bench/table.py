"""Shared parts of the benches: CPU of child processes, measured in turn, and results as a table and as JSON.

A bench is a script, `python -m tests.bench.NAME`, not a test. It prints each figure with its bound, and exits with 1
when a bound is missed. The runs of all candidates alternate, so that other work on the machine affects them equally. A
candidate's figure is its lowest run, because no process can use less CPU than it needs.
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
    """A figure and its bound, in the same unit. A row without a bound is there for comparison."""

    name: str
    figure: float
    unit: str
    bound: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the figure is within its bound."""
        return self.bound is None or self.figure <= self.bound


def cpu(command: Sequence[str], env: Mapping[str, str] | None = None, *, talk: int | None = None) -> float:
    """Run a command to completion. Return the user and system CPU seconds of it and of the children it waited for.

    `talk` is the destination of its stderr, as for subprocess.
    """
    # Compiled files are kept, as in an installation, because compiling is not part of a normal start.
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
    """Run the commands in turn, once unmeasured and then `runs` times. Return the lowest CPU milliseconds of each."""
    for command in commands.values():
        cpu(command, env)
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            taken[name].append(cpu(command, env))
    return {name: 1000 * min(seconds) for name, seconds in taken.items()}


def show(title: str, rows: Sequence[Row]) -> int:
    """Print the table, then one line of JSON. Return 1 when a bound is missed, else 0."""
    width = max(len(row.name) for row in rows)
    click.echo(f"{title} (Python {platform.python_version()}, {os.cpu_count()} processors)")
    for row in rows:
        bound = "" if row.bound is None else f"  at most {row.bound:.2f}  {'kept' if row.kept else 'MISSED'}"
        click.echo(f"  {row.name:<{width}}  {row.figure:10.2f} {row.unit}{bound}")
    click.echo(json.dumps({"bench": title, "rows": [{**asdict(row), "kept": row.kept} for row in rows]}))
    return 0 if all(row.kept for row in rows) else 1
