"""Run the benches, each once in its own process, and print one table: `python -m tests.bench [NAME...]`.

Exits with 1 if a bound is missed or a bench ends without its figures.
"""

import json
import subprocess
import sys
from pathlib import Path

import click

from tests.bench.table import Row, show

# Each bench is a script; the other modules are what they share.
BENCHES = sorted(
    path.stem
    for path in Path(__file__).parent.glob("*.py")
    if not path.stem.startswith("_") and "\ndef main(" in path.read_text("utf-8")
)


def rows_of(name: str) -> list[Row]:
    """Run a bench. Return its rows, each with the bench's name, or one row that misses its bound if it printed none."""
    done = subprocess.run([sys.executable, "-m", f"tests.bench.{name}"], stdout=subprocess.PIPE, text=True, check=False)
    try:
        rows = json.loads(done.stdout.splitlines()[-1])["rows"]
    except (IndexError, ValueError):
        return [Row(f"{name}: ended without figures, exit code", done.returncode, "", -1)]
    return [Row(f"{name}: {row['name']}", row["figure"], row["unit"], row["bound"]) for row in rows]


def main() -> int:
    """Run the benches that the arguments name, or all. Return the exit code."""
    rows = []
    for name in sys.argv[1:] or BENCHES:
        click.echo(f"{name} ...", err=True)
        rows += rows_of(name)
    return show("all benches", rows)


if __name__ == "__main__":
    sys.exit(main())
