"""Bench of `import mfa_kit.api`, compared with `import boto3`."""

import sys

from tests.bench.table import Row, show, side_by_side

RUNS = 25
# In times of `import boto3`.
BOUND = 1.5


def main() -> int:
    """Measure both imports in turn, and return the exit code."""
    names = ("import boto3", "import mfa_kit.api")
    taken = side_by_side({name: [sys.executable, "-c", name] for name in names}, runs=RUNS)
    bare, own = names
    ratio = Row(f"{own}, of {bare}", taken[own] / taken[bare], "x", BOUND)
    return show("api", [*(Row(name, taken[name], "ms") for name in names), ratio])


if __name__ == "__main__":
    sys.exit(main())
