"""Bench of a row at the station: from the insertion of a key until the prompt for the next user.

Needs root, `pcscd` and `vsmartcard-vpcd`, as the bench `oath`. The key's own time and the requests depend on the key
and on AWS. The bench measures them in the same run, row by row, and subtracts them. The keys need no touch.
"""

import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pyrage

from mfa_kit.adapters.oath import pcsc
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.lab.devices.reader import Readers
from tests.bench.table import Row, show
from tests.terminal.conftest import environment
from tests.terminal.window import Window

RUNS = 15
# Seconds by which the lab delays each answer, to stand for a round trip.
LATENCY = 0.1
BOUND = 0.3


class Timed(YkoathCard):
    """Counts the seconds that the key itself takes."""

    taken = 0.0

    def answer(self, octets: bytes) -> bytes:
        began = time.perf_counter()
        answer = super().answer(octets)
        self.taken += time.perf_counter() - began
        return answer


@dataclass(frozen=True, slots=True)
class Took:
    """The seconds of one row: all, those of the key, and those of the requests."""

    whole: float
    key: float
    requests: float

    @property
    def own(self) -> float:
        return self.whole - self.key - self.requests


def see_card(*, present: bool) -> None:
    """Wait until PC/SC reports the change. Until then, no program can know of it."""
    while all(state.present is not present for state in pcsc.reader_states()):
        time.sleep(0.001)


def rows(lab: Lab, readers: Readers, folder: Path) -> list[Took]:
    """Give each user of a plan a key, and return what each row took. The first row, with all imports, is left out."""
    users = [f"user{number:02}" for number in range(RUNS + 2)]
    for user in users:
        lab.add_user(user)
    roster, plan = folder / "roster.csv", folder / "plan.json"
    roster.write_text("user,kind\n" + "".join(f"{user},oath\n" for user in users))
    env = environment(lab, folder) | readers.env
    mfa_kit = [sys.executable, "-m", "mfa_kit"]
    planning = Window([*mfa_kit, "rollout", "plan", str(roster), "-o", str(plan)], env=env, cwd=folder, fork=False)
    if planning.end():
        raise RuntimeError(planning.screen.text())
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    command = [*mfa_kit, "rollout", "station", str(plan), "--no-touch", "-r", recipient]
    window = Window(command, env=env, cwd=folder, apart=False, fork=False)
    taken: list[Took] = []
    for number in range(RUNS + 1):
        window.see("q quit):")
        card = Timed(serial=1000 + number)
        before = len(lab.calls)
        readers.insert(card)
        see_card(present=True)
        began = time.perf_counter()
        window.see(f"insert the key for {users[number + 1]}")
        whole = time.perf_counter() - began
        taken.append(Took(whole, card.taken, sum(call.seconds for call in lab.calls[before:])))
        readers.remove()
        see_card(present=False)
    window.type("q")
    window.end()
    return taken[1:]


def main() -> int:
    """Run the bench and return the exit code."""
    with Lab(settings=LabSettings(propagation=0)) as lab, Readers() as readers, tempfile.TemporaryDirectory() as folder:
        os.environ.update(readers.env)
        lab.faults.add("*", "latency", at="every", seconds=LATENCY)
        taken = rows(lab, readers, Path(folder))
    return show(
        "station",
        [
            Row(
                "from the insertion of an OATH key to the next prompt",
                statistics.median(row.whole for row in taken),
                "s",
            ),
            Row("  of that the key", statistics.median(row.key for row in taken), "s"),
            Row("  of that the requests, at 100 ms each", statistics.median(row.requests for row in taken), "s"),
            Row(
                "  of that the program's own, in half of the rows",
                statistics.median(row.own for row in taken),
                "s",
                BOUND,
            ),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
