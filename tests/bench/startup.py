"""Bench of the help pages: the program's start, compared with a bare import of click and with `aws --version`."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import click

from mfa_kit.cli.main import cli
from tests.bench.table import Row, show, side_by_side

RUNS = 25


def aws() -> str:
    """Return the path of `aws` in a separate virtual environment, which is created when it does not exist."""
    place = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mfa-kit" / "bench-awscli"
    program = place / "bin" / "aws"
    if not program.exists():
        venv.create(place, with_pip=True, clear=True)
        subprocess.run([place / "bin" / "pip", "install", "--quiet", "awscli"], check=True)
    return str(program)


def main() -> int:
    """Measure how long the help of every verb takes to start, and return the exit code."""
    program = str(Path(sys.executable).with_name("mfa-kit"))
    starts = {
        "--version": [program, "--version"],
        "--help": [program, "--help"],
        **{f"{verb} --help": [program, verb, "--help"] for verb in cli.list_commands(click.Context(cli))},
    }
    bare = "import click"
    other = "aws --version"
    taken = side_by_side({bare: [sys.executable, "-c", bare], other: [aws(), "--version"], **starts}, runs=RUNS)
    return show(
        "start",
        [
            Row(bare, taken[bare], "ms"),
            Row(other, taken[other], "ms"),
            *(Row(name, taken[name], "ms") for name in starts),
            *(Row(f"{name}, of {bare}", taken[name] / taken[bare], "x", 1.35) for name in starts),
            *(Row(f"{name}, of {other}", taken[name] / taken[other], "x", 0.25) for name in starts),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
