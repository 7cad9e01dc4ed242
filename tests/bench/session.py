"""Bench of `mfa-kit session`: `python -m tests.bench.session` (root, Linux; it starts a private pcscd).

Compared with a script that types a code into `aws sts get-session-token`, and with one that calls `ykman oath accounts
code`. The lab answers without latency and the key needs no touch, so the time is that of the programs.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.lab.devices.reader import Readers
from tests.bench.table import Row, show, side_by_side
from tests.sessions.desk import Desk, new_lab

RUNS, MAKING = 25, 7
CACHED = 1.3
# What a new session needs besides mfa-kit: the interpreter, and the libraries for keys and for STS.
IMPORTS = (
    "import mfa_kit.cli.main, mfa_kit.cli.settings, mfa_kit.wiring.new_sessions, boto3, mfa_kit.adapters.oath.applet"
)
STS = "import mfa_kit.wiring.new_sessions"
BEYOND = 0.1


def wall(command: list[str], desk: Desk) -> float:
    """Run a command, and return the seconds that it took."""
    began = time.perf_counter()
    subprocess.run(command, env=desk.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> int:
    program = str(Path(sys.executable).with_name("mfa-kit"))
    session = [program, "session", "--profile", "base"]
    with new_lab() as lab, Readers() as readers, tempfile.TemporaryDirectory() as folder:
        desk = Desk(lab, Path(folder), more=readers.env)
        card = YkoathCard()
        card.credentials[desk.label] = desk.credential()
        readers.insert(card)
        subprocess.run(session, env=desk.env, stdout=subprocess.DEVNULL, check=True)
        cached = side_by_side({"version": [program, "--version"], "cached": session}, runs=RUNS, env=desk.env)
    rows = [
        Row("mfa-kit --version", cached["version"], "ms"),
        Row("mfa-kit session, cached", cached["cached"], "ms"),
        Row("cached, of --version", cached["cached"] / cached["version"], "x", CACHED),
    ]
    return show("session", rows)


if __name__ == "__main__":
    sys.exit(main())
