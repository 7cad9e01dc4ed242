"""Bench of the wait after the last keystroke: from Enter on the second code until the device is reported as enabled.

The round trips depend on AWS. The bench measures the remaining time, which is the program's own, up to its last line.
"""

import base64
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pyotp

from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from tests.bench.table import Row, show
from tests.terminal.conftest import environment
from tests.terminal.window import Window

RUNS = 15
# Seconds by which the lab delays each answer, to stand for a round trip.
LATENCY = 0.1
BOUND = 50.0


def once(lab: Lab, user: str) -> tuple[float, float]:
    """Enroll a user.

    Return the seconds from the last keystroke to the result, and the seconds that the requests took.
    """
    lab.add_user(user)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mfa_kit", "enroll", user, "--with", "virtual"]
        window = Window(command, env=environment(lab, Path(folder)), cwd=Path(folder), apart=False, fork=False)
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
    """Run the bench and return the exit code."""
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
