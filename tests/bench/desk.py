"""What a person waits for after the last key: from Enter on the second code until the device is told as enabled.

The round trips are AWS's; what is measured is the rest, the program's own, up to its last line.
"""

import base64
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pyotp

from mfa_kit.lab.aws.codes import LabSettings
from mfa_kit.lab.aws.server import Lab
from tests.bench.table import Row, show
from tests.terminal.conftest import environment
from tests.terminal.window import Window

RUNS = 15
# Milliseconds that each answer of the lab takes longer, so that a round trip is one.
LATENCY = 0.1
BOUND = 50.0


def once(lab: Lab, user: str) -> tuple[float, float]:
    """Enroll a user; return the seconds from the last key to the result, and those of the requests."""
    lab.add_user(user)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mfa_kit", "enroll", user, "--with", "virtual"]
        window = Window(command, env=environment(lab, Path(folder)), cwd=Path(folder), apart=False)
        window.see("first code: ")
        seed = base64.b32encode(lab.seed(f"arn:aws:iam::000000000000:mfa/{user}")).decode()
        now = lab.account.now()
        window.type(pyotp.TOTP(seed).at(int(now) - 30))
        window.see("second code: ")
        before = len(lab.calls)
        began = time.perf_counter()
        window.type(pyotp.TOTP(seed).at(int(now)))
        window.see("enrolled")
        taken = time.perf_counter() - began
        if window.end() != 0:
            raise RuntimeError(window.screen.text())
        return taken, sum(call.seconds for call in lab.calls[before:])


def main() -> int:
    """Measure; return the exit code."""
    with Lab(settings=LabSettings()) as lab:
        lab.faults.add("*", "latency", at="every", seconds=LATENCY)
        once(lab, "warm")
        runs = [once(lab, f"user{number}") for number in range(RUNS)]
    whole = statistics.median(taken for taken, _ in runs) * 1000
    trips = statistics.median(requests for _, requests in runs) * 1000
    own = [(taken - requests) * 1000 for taken, requests in runs]
    return show(
        "desk",
        [
            Row("from the last key to the result", whole, "ms"),
            Row("of that the requests, at 100 ms each", trips, "ms"),
            Row("of that the program's own, in half of the runs", statistics.median(own), "ms"),
            Row("of that the program's own, when nothing else ran", min(own), "ms", BOUND),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
