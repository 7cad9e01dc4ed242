"""Bench of the help pages: the program's start, compared with a bare import of click and with `aws --version`."""

import sys
from collections.abc import Iterator
from pathlib import Path

from mfa_kit.cli.main import COMMANDS
from mfa_kit.cli.options import Rows
from tests.bench.programs import aws
from tests.bench.table import Row, show, side_by_side

RUNS = 25
# The program's own help, and that of a verb, in times of `import click`; either in times of `aws --version`.
PROGRAM, VERB, AWS = 1.35, 3.0, 0.4


def commands(rows: Rows, *words: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command, groups included."""
    for name, row in rows.items():
        yield (*words, name)
        if not isinstance(row.held, str):
            yield from commands(row.held, *words, name)


def main() -> int:
    """Measure how long the help of every verb takes to start, and return the exit code."""
    program = str(Path(sys.executable).with_name("mfa-kit"))
    own = {"--version": [program, "--version"], "--help": [program, "--help"]}
    starts = own | {f"{' '.join(words)} --help": [program, *words, "--help"] for words in commands(COMMANDS)}
    bare = "import click"
    other = "aws --version"
    taken = side_by_side({bare: [sys.executable, "-c", bare], other: [aws(), "--version"], **starts}, runs=RUNS)
    return show(
        "start",
        [
            Row(bare, taken[bare], "ms"),
            Row(other, taken[other], "ms"),
            *(Row(name, taken[name], "ms") for name in starts),
            *(
                Row(f"{name}, of {bare}", taken[name] / taken[bare], "x", PROGRAM if name in own else VERB)
                for name in starts
            ),
            *(Row(f"{name}, of {other}", taken[name] / taken[other], "x", AWS) for name in starts),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
