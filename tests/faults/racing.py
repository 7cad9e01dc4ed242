"""A computer in a race: `python -m tests.faults.racing JOB.json` gives programmable tokens to users, one per round.

In each round it waits until the other computer is ready too. It prints the exit code and the messages of each round as
a list in JSON.
"""

import contextlib
import io
import json
import socket
import sys
import time
from pathlib import Path
from unittest import mock

import pyotp

from mfa_kit.cli import terminal
from mfa_kit.cli.main import run
from mfa_kit.core.otp import Secret
from tests.tokens.person import Person


class Programmer(Person):
    """A person who writes each seed to the token, and types the token's last two codes, the older one first."""

    seed, typed = "", 0

    def show(self, *parts: Secret[str], instead: str) -> None:
        self.seed = "".join(parts[-1].reveal().split())

    def ask_code(self, prompt: str, *, instead: str, seconds_left: object = None) -> str:
        self.typed += 1
        return pyotp.TOTP(self.seed).at(int(time.time()) - 30 * (self.typed % 2))


def meet(folder: Path, name: str, number: int) -> None:
    """Wait until both computers are ready for a round."""
    (folder / f"{number}-{name}").touch()
    while len(list(folder.glob(f"{number}-*"))) < 2:
        time.sleep(0.001)


def main(job: Path) -> None:
    """Enroll each user of the job with the token of the same round."""
    said = json.loads(job.read_text())
    name, folder = said["computer"], Path(said["folder"])
    ended = []
    with (
        mock.patch.object(socket, "gethostname", return_value=name),
        mock.patch.object(terminal, "find_person", side_effect=lambda *_, **__: Programmer()),
    ):
        for number, (user, serial) in enumerate(said["rounds"]):
            meet(folder, name, number)
            words = ["enroll", user, "--with", "programmable", "--serial", serial, "--capacity", "63", "--show-secret"]
            err = io.StringIO()
            with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
                code = run([*words, "-r", said["recipient"], "--local-backups", "--ledger", said["ledger"]])
            ended.append((code, err.getvalue()))
    sys.stdout.write(json.dumps(ended))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
