"""Bench of seed files and searches: 10,000 PSKC keys against python-pskc alone, a day of steps, and a box of 10,000."""

import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mfa_kit.core import otp
from mfa_kit.core.otp import Seed
from mfa_kit.tokens import matching
from mfa_kit.tokens.seeds import SeededToken, Token, TypedCodes
from tests.bench.table import Row, show, side_by_side
from tests.tokens.boxes import Made, pskc

KEYS = 10_000
RUNS = 5
DAY = 2880
NOW = 1_800_000_012.0

ALONE = """
import sys
from pskc import PSKC
container = PSKC(sys.argv[1])
keys = [(key.serial, key.algorithm, key.secret, key.time_interval, key.response_length) for key in container.keys]
assert len(keys) == 10_000
"""
READ = """
import sys, time
from pathlib import Path
from mfa_kit.adapters.seedfiles import files
(reading,) = files.read_seed_file(files.load_file(Path(sys.argv[1])), None, now=time.time()).readings
assert len(reading.keys) == 10_000
"""
# The work of `mfa-kit token import` without the start of the program: read the file, fingerprint the seeds, store them.
IMPORT = """
import sys, tempfile, time
from pathlib import Path
from mfa_kit.core import otp
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.adapters.seedfiles import files
from mfa_kit.adapters.ledger.token_inventory import TokenInventory
from mfa_kit.core.otp import Secret
(reading,) = files.read_seed_file(files.load_file(Path(sys.argv[1])), None, now=time.time()).readings
with tempfile.TemporaryDirectory() as home, sqlite_ledger(Path(home)) as ledger:
    mark = Secret(bytes(32))
    came = TokenInventory(ledger, now=0.0).stock([(key.token, otp.fingerprint(key.seed, mark)) for key in reading.keys])
assert came.new == 10_000
"""


def peak(script: str, file: Path) -> float:
    """Return a script's peak memory in MiB. The kernel's mark starts again with each program."""
    mark = "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    command = [sys.executable, "-c", script + mark, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def least(act: Callable[[], object]) -> float:
    """Return the lowest CPU time of several runs in this process, in seconds."""
    taken = []
    for _ in range(RUNS):
        began = time.process_time()
        act()
        taken.append(time.process_time() - began)
    return min(taken)


def searches() -> list[Row]:
    """Measure two searches: one token over a day either way, and 10,000 tokens over twenty steps either way."""
    made = [Made(f"{at}", secrets.token_bytes(20)) for at in range(KEYS)]
    keys = [SeededToken(token=Token(serial=one.serial, octets=20), seed=Seed(one.octets), where="") for one in made]
    last = made[-1]
    typed = TypedCodes(codes=(last.shows(NOW, ahead=-30), last.shows(NOW)), at=NOW)
    found = matching.find_tokens(keys, typed)
    if last.serial not in {one.token.serial for one in found}:
        raise AssertionError("the token was not found")
    one = keys[0]
    rows = [Row("which of 10,000 tokens shows two codes", least(lambda: matching.find_tokens(keys, typed)), "s", 2)]
    for digest in ("sha1", "sha256", "sha512"):
        steps = range(10**7, 10**7 + 2 * DAY)
        seconds = least(lambda: list(otp.codes(one.seed, steps, digest=digest)))  # noqa: B023 - it is called at once
        rows.append(Row(f"codes of 5,760 steps, {digest}", 1000 * seconds, "ms"))
    day = least(lambda: matching.search(one.token, one.seed, typed, window=DAY))
    return [*rows, Row("search of a day to either side", 1000 * day, "ms", 15)]


def main() -> int:
    """Run the bench and return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "box.xml"
        file.write_bytes(pskc(Made(f"{10**7 + at}", secrets.token_bytes(20)) for at in range(KEYS)))
        scripts = {"python-pskc alone": ALONE, "read": READ, "read and taken in": IMPORT}
        commands = {name: [sys.executable, "-c", script, str(file)] for name, script in scripts.items()}
        taken = side_by_side(commands, runs=RUNS)
        memory = {name: peak(script, file) for name, script in scripts.items()}
    alone, *ours = scripts
    return show(
        "tokens",
        [
            *(Row(f"10,000 PSKC keys, {name}", taken[name], "ms") for name in scripts),
            *(Row(f"10,000 PSKC keys, {name}, of {alone}", taken[name] / taken[alone], "x", 1.25) for name in ours),
            *(Row(f"most memory, {name}", memory[name], "MiB") for name in scripts),
            *(Row(f"most memory, {name}, more than {alone}", memory[name] - memory[alone], "MiB", 60) for name in ours),
            *searches(),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
