"""Many workers, kept running as systemd does, while they are killed and their database is stopped again and again."""

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyrage
import pytest

from mfa_kit.adapters.ledger.postgresql.owning import OwnedLedger
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from tests.conftest import COUNTED, LOST
from tests.ledgers import Place
from tests.postgresql import running_server
from tests.rollout.team import Team
from tests.sizes import size

WORKERS, ACCOUNTS, USERS = size(2, 4), size(4, 20), size(8, 100)
KILLS, STOPS = size(2, 1000), size(1, 2)
# Seconds between two kills, at least, and the calls per second that an account allows. The kills follow the number of
# enrolled users, or a slow computer would start workers without end; in the small case, this number grows slowly enough
# to be watched.
EACH, RATE = size(0, 5), size(8, 1000)
USERS_PER_KILL = 8


@dataclass
class Fleet:
    """Workers that are started again whenever they fail, with a pause of a second."""

    team: Team
    ended: threading.Event = field(default_factory=threading.Event)
    running: dict[int, subprocess.Popen[str]] = field(default_factory=dict)
    codes: Counter[int] = field(default_factory=Counter)
    last: str = ""

    def keep(self, number: int) -> None:
        """Keep a worker running until it ends with 0."""
        while not self.ended.is_set():
            worker = self.team.work(number, "--quiet", "--no-input")
            self.running[number] = worker
            _, self.last = worker.communicate()
            self.codes[worker.returncode] += 1
            if worker.returncode == 0:
                break
            self.ended.wait(1)
        del self.running[number]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_rollout_is_completed_whatever_is_killed(
    tmp_path: Path,
    identity: pyrage.x25519.Identity,
    record_property: Callable[[str, object], None],
) -> None:
    """No user is lost or enrolled twice, each device has its backup, and no orphan is left."""
    with (
        running_server("fsync=on") as server,
        Lab(accounts=ACCOUNTS, users_per_account=USERS, settings=LabSettings(propagation=0)) as lab,
    ):
        address = server.address(server.new_database())
        OwnedLedger(address).create(grace=2.0)
        team = Team(tmp_path, tmp_path / "desk", lab, Place("postgresql", address), str(identity.to_public()))
        team.plan()
        lab.faults.add("*", "bucket", rate=RATE, burst=RATE)
        fleet, began, kills, stops = Fleet(team), time.monotonic(), 0, 0
        threads = [threading.Thread(target=fleet.keep, args=(number,)) for number in range(WORKERS)]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                time.sleep(EACH or 0.2)
                done = team.enabled().total()
                if stops < min(STOPS, kills) and done >= USERS * ACCOUNTS * (stops + 1) // (STOPS + 1):
                    server.control("stop", "-m", "immediate")
                    time.sleep(1)
                    server.control("start")
                    stops += 1
                elif (
                    kills < KILLS
                    and USERS_PER_KILL * (kills + 1) <= done < USERS * ACCOUNTS
                    and (alive := [*fleet.running.values()])
                ):
                    with suppress(ProcessLookupError):  # it may have ended in this moment
                        os.killpg(alive[kills % len(alive)].pid, signal.SIGKILL)
                        kills += 1
        finally:
            fleet.ended.set()
            for worker in [*fleet.running.values()]:
                worker.kill()
            for thread in threads:
                thread.join()
        took = time.monotonic() - began
        assert fleet.codes[0] == WORKERS, (fleet.codes, fleet.last)
        assert (kills > 0, stops) == (True, STOPS)
        team.is_done(users=USERS)
        team.enabled_once(users=USERS)
        counts = {"users of workers": USERS * ACCOUNTS, "workers killed": kills, "stops of the server": stops}
        for what, number in {**counts, "seconds of all workers": round(took), LOST: 0}.items():
            record_property(COUNTED, (what, number))
