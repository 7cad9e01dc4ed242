"""Bench of a ledger in PostgreSQL: what a user costs, and what several workers gain: throttled, killed and far away.

PostgreSQL is real, with fsync, on a Unix socket. IAM has canned answers. `python -m tests.bench.shared cost distance`
runs these two parts alone.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product

import psycopg

from mfa_kit.adapters.ledger.postgresql.owning import OwnedLedger
from tests.bench.canned import BURST, Canned
from tests.bench.rollout import BARE, Desk, desk, ended, names
from tests.bench.table import Row, show
from tests.postgresql import OWNER, SUPERUSER, Server, running_server
from tests.proxy import Proxy

ROUNDS, FEW, MANY = 3, 100, 1100
ANSWER, WORKERS, USERS = 0.025, 4, 150
RATE, THROTTLED = 20, 200
KILLS, LONG = 5, 400
DELAY, NEAR, FAR = 0.010, 10, 60
THREADS = (1, 8)
FIRST, LAST = "CreateVirtualMFADevice", "EnableMFADevice"
# The seconds after a kill in which IAM may still receive a request that was already sent.
SENT = 0.002
# The seconds for which an account is reserved after a restart of the database, and when the last row of its unfinished
# run was recorded.
GRACE = 5.0
UNFINISHED = """
    select extract(epoch from max(recorded))::double precision from mfa_kit.journal
        where reached in ('intent', 'created', 'revoking')
"""


class SharedDesk(Desk):
    """A desk whose ledger is in PostgreSQL, with the accounts of its rollout in a file."""

    def __init__(self, folder: str, env: dict[str, str], *, ledger: str, accounts: int = 0) -> None:
        super().__init__(folder, {**env, "MFA_KIT_LEDGER": ledger})
        self.accounts = [f"{number:012}" for number in range(1, accounts + 1)]
        lines = [
            f"- account_id: '{each}'\n  name: a{each}\n  role: arn:aws:iam::{each}:role/tin\n" for each in self.accounts
        ]
        (self.folder / "accounts.yml").write_text("".join(["accounts:\n", *lines]), "utf-8")

    @property
    def choice(self) -> list[str]:
        return ["--accounts", "accounts.yml"] if self.accounts else []

    def plan(self, users: Sequence[str]) -> subprocess.Popen[str]:
        """Plan for these users in all accounts."""
        lines = [f"{account},{user},{self.key}" for account in self.accounts for user in users]
        head = "account,user,recipient" if self.accounts else "user,recipient"
        lines = lines or [f"{user},{self.key}" for user in users]
        (self.folder / "roster.csv").write_text("\n".join([head, *lines]), "utf-8")
        return self.start("rollout", "plan", "roster.csv", "-o", "plan.json", *self.choice)

    def work(self, number: int = 0, *, threads: int = 1, plan: str = "plan.json") -> subprocess.Popen[str]:
        """Start a worker."""
        options = ("--workers", str(threads), "--results", f"results-{number}", "--local-backups", "--quiet")
        return self.start("rollout", "work", plan, *self.choice, *options)


@contextmanager
def shared_desk(
    env: dict[str, str], server: Server, *, accounts: int = 0, through: Proxy | None = None
) -> Iterator[SharedDesk]:
    database = server.new_database()
    ledger = through.address(database) if through else server.address(database)
    with tempfile.TemporaryDirectory() as folder:
        yield SharedDesk(folder, env, ledger=ledger, accounts=accounts)


def cost(server: Server) -> list[Row]:
    """Measure the CPU time of more users. The lowest of the runs counts, because other programs run too."""
    used = defaultdict[tuple[str, int], list[float]](list)
    for _, users in product(range(ROUNDS), (FEW, MANY)):
        with Canned(names(users)) as iam, desk(iam.env) as one:
            used["boto3", users].append(ended(one.start("make", str(users), how=("-c", BARE))).cpu)
        with Canned(names(users)) as iam, desk(iam.env) as one:
            ended(one.plan(names(users)))
            used["sqlite", users].append(ended(one.apply(files=1)).cpu)
        with Canned(names(users)) as iam, shared_desk(iam.env, server) as other:
            ended(other.plan(names(users)))
            command = ("rollout", "apply", "plan.json", "--output", "jsonl", "--local-backups")
            used["postgresql", users].append(ended(other.start(*command)).cpu)

    def each(what: str) -> float:
        return 1000 * (min(used[what, MANY]) - min(used[what, FEW])) / (MANY - FEW)

    beside = each("sqlite") - each("boto3")
    return [
        Row("boto3's two calls, CPU a user", each("boto3"), "ms"),
        Row("enrolling with one file and SQLite, CPU a user beside boto3's", beside, "ms", 5),
        Row("with PostgreSQL, CPU a user more than with SQLite", each("postgresql") - each("sqlite"), "ms", 1),
    ]


def _all_work(one: SharedDesk, number: int) -> float:
    """Run workers until all of them have ended, and return the seconds that this took."""
    began = time.monotonic()
    for worker in [one.work(each) for each in range(number)]:
        ended(worker)
    return time.monotonic() - began


def workers(server: Server) -> list[Row]:
    """Let one worker, and then four, with a thread each, enroll the users of four accounts."""
    took = {}
    for number in (1, WORKERS):
        with Canned(names(USERS), latency=ANSWER) as iam, shared_desk(iam.env, server, accounts=WORKERS) as one:
            ended(one.plan(names(USERS)))
            took[number] = _all_work(one, number)
    total = WORKERS * USERS
    return [
        Row(f"one worker, answers after {ANSWER * 1000:.0f} ms, a user", 1000 * took[1] / total, "ms"),
        Row(f"{WORKERS} workers, likewise", 1000 * took[WORKERS] / total, "ms"),
        Row(f"{WORKERS} workers, of the time of one", took[WORKERS] / took[1], "x", 1 / 3),
    ]


def throttled(server: Server) -> list[Row]:
    """Let four workers enroll in eight accounts, each of which takes 20 calls a second."""
    with (
        Canned(names(THROTTLED), latency=0.01, rate=RATE) as iam,
        shared_desk(iam.env, server, accounts=2 * WORKERS) as one,
    ):
        with Canned(names(THROTTLED)) as unlimited:
            one.env |= unlimited.env
            ended(one.plan(names(THROTTLED)))
        one.env |= iam.env
        iam.times.clear()
        begun = [one.work(number, threads=8) for number in range(WORKERS)]
        for worker in begun:
            ended(worker)
        times = [at for account, _, at in iam.times if account in one.accounts]
        took = times[-1] - times[0]
        calls = 2 * THROTTLED + 4
    ideal = 2 * (calls - BURST) / RATE
    return [Row(f"throttled at {RATE} calls/s in each account, of the ideal {ideal:.0f} s", took / ideal, "x", 1.15)]


def slices(server: Server) -> list[Row]:
    """Enroll the users of one throttled account with one worker, and with two that have a half of them each."""
    took, rejected = {}, {}
    for number in (1, 2):
        with Canned(names(THROTTLED), latency=0.01, rate=RATE) as iam, shared_desk(iam.env, server) as one:
            plans = [f"plan-{each}.json" for each in range(number)]
            for each, plan in enumerate(plans):
                with Canned(names(THROTTLED)) as unlimited:
                    one.env |= unlimited.env
                    ended(one.plan(names(THROTTLED)[each::number]))
                (one.folder / "plan.json").rename(one.folder / plan)
            one.env |= iam.env
            for worker in [one.work(each, threads=8, plan=plan) for each, plan in enumerate(plans)]:
                ended(worker)
            times = [at for _, name, at in iam.times if name in {FIRST, LAST}]
            took[number], rejected[number] = times[-1] - times[0], len(iam.times) - iam.calls
    ideal = (2 * THROTTLED - BURST) / RATE
    return [
        Row(f"an account of {RATE} calls/s, one worker, of the ideal {ideal:.0f} s", took[1] / ideal, "x", 1.15),
        Row("the same with two workers, each with a half of the users", took[2] / ideal, "x"),
        Row("calls that were throttled, one worker", rejected[1], "calls"),
        Row("calls that were throttled, two workers", rejected[2], "calls"),
    ]


def killed(server: Server) -> list[Row]:
    """Kill the worker that has the account. The other one continues it."""
    pauses = []
    for _ in range(KILLS):
        with Canned(names(LONG), latency=ANSWER) as iam, shared_desk(iam.env, server, accounts=1) as one:
            ended(one.plan(names(LONG)))
            first = one.work(0)
            _wait(lambda: any(name == LAST for _, name, _ in iam.times))
            second = one.work(1)
            _wait(lambda: sum(name == LAST for _, name, _ in iam.times) > 60)
            os.kill(first.pid, signal.SIGKILL)
            at = time.monotonic()
            first.wait()
            time.sleep(SENT)
            iam.times.clear()
            _wait(lambda: iam.times and iam.times[-1][1] == FIRST)
            pauses.append(iam.times[-1][2] - at)
            second.kill()
            second.wait()
    return [
        Row("account of a killed worker continued after, at most", max(pauses), "s", 1),
        Row("account of a killed worker continued after, median", statistics.median(pauses), "s"),
    ]


def restarted(server: Server) -> list[Row]:
    """Stop the database while a worker has the account, and start both again. The grace period has to be over first."""
    pauses: list[float] = []
    while len(pauses) < KILLS:
        with Canned(names(LONG), latency=ANSWER) as iam, shared_desk(iam.env, server, accounts=1) as one:
            OwnedLedger(one.env["MFA_KIT_LEDGER"]).create(grace=GRACE)
            ended(one.plan(names(LONG)))
            first = one.work(0)
            _wait(lambda: sum(name == LAST for _, name, _ in iam.times) > 60)
            server.control("stop", "-m", "immediate")
            first.wait()
            server.control("start")
            with psycopg.connect(one.env["MFA_KIT_LEDGER"].replace(f"user={OWNER}", f"user={SUPERUSER}")) as connection:
                [[recorded]] = connection.execute(UNFINISHED).fetchall()
            if recorded is None:  # it stopped between two users, so no run is reserved
                continue
            free = time.monotonic() - time.time() + recorded + GRACE
            iam.times.clear()
            second = one.work(1)
            _wait(lambda: iam.times and iam.times[-1][1] == FIRST)
            pauses.append(iam.times[-1][2] - free)
            second.kill()
            second.wait()
    return [
        Row(f"account continued after a restart and {GRACE:.0f} s of grace, at most", max(pauses), "s", 1),
        Row("the same, seconds too early", -min(pauses), "s", 0),
    ]


def _wait(reached: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not reached():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.005)


def distance(server: Server) -> list[Row]:
    """Enroll with a database at 20 ms round trip. IAM answers at once."""
    each: dict[int, float] = {}
    for threads in THREADS:
        took = {}
        for users in (NEAR * threads, FAR * threads):
            with (
                Proxy(server, delay=DELAY) as network,
                Canned(names(users)) as iam,
                shared_desk(iam.env, server, through=network) as one,
            ):
                ended(one.plan(names(users)))
                iam.times.clear()
                worker = one.work(threads=threads)
                worker.wait()
                took[users] = time.monotonic() - next(at for _, name, at in iam.times if name == FIRST)
        each[threads] = (took[FAR * threads] - took[NEAR * threads]) / ((FAR - NEAR) * threads)
    one_thread, eight = each[THREADS[0]], each[THREADS[1]]
    return [
        Row(f"database at {DELAY * 2000:.0f} ms, a user, one thread", 1000 * one_thread, "ms", 160),
        Row(f"database at {DELAY * 2000:.0f} ms, a user, 8 threads", 1000 * eight, "ms"),
        Row("8 threads, of the time of one", eight / one_thread, "x", 1 / 5),
    ]


PARTS: dict[str, Callable[[Server], list[Row]]] = {
    "cost": cost,
    "workers": workers,
    "throttled": throttled,
    "slices": slices,
    "killed": killed,
    "restarted": restarted,
    "distance": distance,
}


def main() -> int:
    """Run the bench and return the exit code."""
    with running_server("fsync=on") as server:
        return show("shared", [row for name in sys.argv[1:] or PARTS for row in PARTS[name](server)])


if __name__ == "__main__":
    sys.exit(main())
