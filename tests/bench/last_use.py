"""Bench of `usage update` over log files: CPU and memory for 1,000,000 events, compared with a bare loop.

The bare loop decompresses and parses the same files with gzip and json, and keeps nothing.
`python -m tests.bench.last_use` measures both in turn.
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.table import Row, show
from tests.usage.test_events import ACCOUNT, call, login

EVENTS, IN_FILE, RUNS = 1_000_000, 1400, 3
TIMES, MEMORY = 1.5, 60.0
MOST = """
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
BARE = (
    """
import gzip, json, pathlib, sys
for path in pathlib.Path(sys.argv[1]).rglob("*.json.gz"):
    with gzip.open(path) as file:
        for event in json.load(file)["Records"]:
            pass
"""
    + MOST
)
READ = (
    """
import pathlib, sys
from mfa_kit.adapters.files.event_files import log_files
from mfa_kit.usage.updating import FilesResult, collectors_for, read_file
total = FilesResult(collectors=collectors_for([sys.argv[2]], now=2e9))
for file in log_files(pathlib.Path(sys.argv[1])):
    total.add(read_file(file, [sys.argv[2]], now=2e9))
assert total.files and not total.problems and total.collectors[sys.argv[2]].uses
"""
    + MOST
)


def write_logs(folder: Path) -> None:
    """Write the events to files of CloudTrail's usual size: 3 of 100 are uses, as in an account at work."""
    other = login(eventName="DescribeInstances", eventSource="ec2.amazonaws.com", responseElements=None)
    mix = [login(), call("GetSessionToken"), call("AssumeRole"), *([other] * 97)]
    records = [{**mix[number % 100], "eventID": f"{number:036}"} for number in range(IN_FILE)]
    octets = gzip.compress(json.dumps({"Records": records}).encode())
    place = folder / "AWSLogs" / ACCOUNT / "CloudTrail" / "us-east-1" / "2026" / "09" / "14"
    place.mkdir(parents=True)
    for number in range(EVENTS // IN_FILE):
        (place / f"{ACCOUNT}_CloudTrail_us-east-1_20260914T0000Z_{number:016}.json.gz").write_bytes(octets)


def used(command: list[str]) -> tuple[float, float]:
    """Run a script. Return its CPU seconds, and the most memory that it needed in MB, which it prints."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout
    words = child.stdout.read().split()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return usage.ru_utime + usage.ru_stime, int(words[1]) / 1024


def main() -> int:
    """Print the table. Return 1 when a bound is missed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_logs(folder)
        bare, read = ([sys.executable, "-c", script, name, ACCOUNT] for script in (BARE, READ))
        runs = [(used(bare), used(read)) for _ in range(RUNS)]
        bare_cpu, read_cpu = (min(run[side][0] for run in runs) for side in (0, 1))
        memory = min(run[1][1] for run in runs)
    return show(
        "log files of CloudTrail",
        [
            Row(f"gzip and json, {EVENTS:,} events, CPU", bare_cpu, "s"),
            Row("uses of devices in them, CPU", read_cpu, "s", TIMES * bare_cpu),
            Row("uses of devices in them, memory of the process", memory, "MB", MEMORY),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
