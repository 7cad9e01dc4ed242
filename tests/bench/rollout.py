"""Bench of a rollout: calls, pacing under a throttle, CPU and memory per user, and the shell loop it replaces.

Elapsed time is measured against a server that waits, so that waiting dominates. CPU time is compared with a bare script
that makes the same calls. `python -m tests.bench.rollout throttle tin` runs these two parts alone.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pyrage

from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.aws.wire import LoggedCall
from tests.bench.canned import Canned
from tests.bench.programs import aws
from tests.bench.table import Row, show

RATE, BURST, LATENCY, THROTTLED = 20, 40, 0.04, 300
DESKS = 3
TIN_LATENCY, TIN_USERS, WARM, WORKERS = 0.2, 500, 100, 8
FILES = (1, 2)
ROUNDS = 3
FEW, MANY = 100, 5000
LOOP, LAB_USERS = 5, 1000

# Runs mfa-kit. Records how old a pair of codes was, at most, when its request was written to the socket.
WATCHED = """
import atexit, os, sys, threading, time
from botocore.httpsession import URLLib3Session
from mfa_kit.cli.main import main
from mfa_kit.enrollment.backends import BackupAlone

made, ages, codes, send = threading.local(), [0.0], BackupAlone.codes, URLLib3Session.send

def noted(self, intent):
    made.at = time.monotonic()
    return codes(self, intent)

def sent(self, request):
    if "EnableMFADevice" in str(request.body):
        ages.append(time.monotonic() - made.at)
    return send(self, request)

BackupAlone.codes, URLLib3Session.send = noted, sent

@atexit.register
def told():
    with open(os.environ["AGE"], "w") as file:
        file.write(str(max(ages)))

main()
"""
# Makes only the two calls per user, or the one lookup, from the same number of threads over one client.
BARE = """
import sys, time, boto3
from botocore.config import Config
from concurrent.futures import ThreadPoolExecutor

what, users = sys.argv[1], [f"user{number:05}" for number in range(int(sys.argv[2]))]
iam = boto3.client("iam", config=Config(max_pool_connections=8, retries={"total_max_attempts": 1}))

def look(user):
    iam.list_mfa_devices(UserName=user)

def make(user):
    device = iam.create_virtual_mfa_device(VirtualMFADeviceName=user, Tags=[
        {"Key": "mfa-kit:run", "Value": "20260101T000000Z-00000000"},
        {"Key": "mfa-kit:user", "Value": user},
        {"Key": "mfa-kit:kind", "Value": "virtual"},
    ])["VirtualMFADevice"]
    iam.enable_mfa_device(UserName=user, SerialNumber=device["SerialNumber"],
        AuthenticationCode1="000000", AuthenticationCode2="000001")

with ThreadPoolExecutor(8) as pool:
    list(pool.map(look if what == "look" else make, users))
"""
# The procedure of AWS's own documentation: write the seed to a file, compute two codes, enable the device.
SHELL = """
set -eu
for user; do
    serial=$("$AWS" iam create-virtual-mfa-device --virtual-mfa-device-name "$user" --outfile "$user.seed" \
        --bootstrap-method Base32StringSeed --query VirtualMFADevice.SerialNumber --output text)
    now=$(date +%s)
    first=$(oathtool --totp -b -N "@$((now - 30))" "$(cat "$user.seed")")
    second=$(oathtool --totp -b -N "@$now" "$(cat "$user.seed")")
    "$AWS" iam enable-mfa-device --user-name "$user" --serial-number "$serial" \
        --authentication-code1 "$first" --authentication-code2 "$second"
done
"""


def names(count: int) -> list[str]:
    return [f"user{number:05}" for number in range(count)]


@dataclass(frozen=True, slots=True)
class Used:
    """Resources that a process used: CPU and wall seconds, and peak resident memory in MB."""

    cpu: float
    seconds: float
    peak: float


class Desk:
    """A folder with a roster, its plan and a ledger, working against one endpoint."""

    def __init__(self, folder: str, env: dict[str, str]) -> None:
        self.folder = Path(folder)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MFA_KIT_"))}
        self.env = {**kept, **env, "MFA_KIT_HOME": str(self.folder / "home"), "AGE": str(self.folder / "age")}
        self.key = str(pyrage.x25519.Identity.generate().to_public())

    def start(self, *args: str, how: Sequence[str] = ("-m", "mfa_kit"), **rest: Any) -> subprocess.Popen[str]:
        rest = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "text": True, **rest}
        return subprocess.Popen(
            [sys.executable, *how, *args], env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, **rest
        )

    def plan(self, users: Sequence[str]) -> subprocess.Popen[str]:
        (self.folder / "roster.csv").write_text(
            "\n".join(["user,recipient", *(f"{user},{self.key}" for user in users)]), "utf-8"
        )
        return self.start("rollout", "plan", "roster.csv", "-o", "plan.json")

    def apply(self, *, files: int = 2, stage: bool = False, **how: Any) -> subprocess.Popen[str]:
        """Start `rollout apply`, which encrypts one file for the user alone and another for the admins."""
        admins = ("-r", self.key) if files > 1 else ()
        staged = ("--stage",) if stage else ()
        return self.start("rollout", "apply", "plan.json", *admins, *staged, "--output", "jsonl", **how)

    @property
    def age(self) -> float:
        return float((self.folder / "age").read_text("utf-8"))


def ended(process: subprocess.Popen[str]) -> Used:
    """Wait for a process that was just started, and return the resources it used. Raise when it failed."""
    began = time.monotonic()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return Used(usage.ru_utime + usage.ru_stime, time.monotonic() - began, usage.ru_maxrss / 1024)


@contextmanager
def desk(env: dict[str, str]) -> Iterator[Desk]:
    with tempfile.TemporaryDirectory() as folder:
        yield Desk(folder, env)


class Stamped(list[LoggedCall]):
    """The lab's log of calls, with the time of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def append(self, call: LoggedCall) -> None:
        self.times.append(time.monotonic() - call.seconds)
        super().append(call)


def throttled(count: int) -> list[Row]:
    """Enroll users from `count` computers at once, at a lab that throttles all of them together."""
    share = THROTTLED // count
    users = names(THROTTLED)
    with Lab(users=users) as lab, tempfile.TemporaryDirectory() as place:
        desks = [Desk(f"{place}/{number}", lab.env) for number in range(count)]
        for number, each in enumerate(desks):
            each.folder.mkdir()
            ended(each.plan(users[number * share : (number + 1) * share]))
        lab.faults.add("*", "latency", at="every", seconds=LATENCY)
        lab.faults.add("*", "bucket", rate=RATE, burst=BURST)
        lab.application.calls = log = Stamped()
        processes = [each.apply(how=("-c", WATCHED)) for each in desks]
        for process in processes:
            ended(process)
        rejected = sum(call.error == "Throttling" for call in log)
        took = max(time + call.seconds for time, call in zip(log.times, log, strict=True)) - min(log.times)
        failed = sum(lab.assigned(f"arn:aws:iam::000000000000:mfa/{user}") != user for user in users)
        oldest = max(each.age for each in desks)
    answered = len(log) - rejected
    ideal = (answered - BURST) / RATE
    who = f"{count} desks, " if count > 1 else ""
    return [
        Row(f"{who}throttled, of the ideal {ideal:.1f} s", took / ideal, "x", 1.1 if count == 1 else 1.15),
        Row(f"{who}throttled, users failed", failed, "users", 0),
        Row(f"{who}throttled, calls rejected", 100 * rejected / len(log), "%", 5 if count == 1 else None),
        Row(f"{who}throttled, oldest code when sent", oldest, "s", 0.5),
        Row(f"{who}throttled, calls answered a user", answered / THROTTLED, "calls", 2.1),
    ]


def throttle() -> list[Row]:
    return [*throttled(1), *throttled(DESKS)]


def tin() -> list[Row]:
    """Enroll users at a server with slow answers. Work that is not done while waiting counts against mfa-kit."""
    with Canned(names(TIN_USERS), latency=TIN_LATENCY) as iam, desk(iam.env) as one:
        ended(one.plan(names(TIN_USERS)))
        process = one.apply(stdout=subprocess.PIPE)
        assert process.stdout
        times = [time.monotonic() for line in process.stdout if line.startswith("{")]
        process.wait()
    rate = (TIN_USERS - WARM) / (times[-1] - times[WARM - 1])
    ideal = WORKERS / (2 * TIN_LATENCY)
    return [Row(f"waiting for answers, ideal {ideal:.0f} users/s, of the ideal time", ideal / rate, "x", 1 / 0.95)]


def cost() -> list[Row]:
    """Measure what additional users cost, compared with what boto3 takes for their two calls.

    The lowest CPU time of the runs counts, because other programs run too. For memory the greatest value counts.
    """
    used = defaultdict[tuple[str, int], list[Used]](list)
    for _, users in product(range(ROUNDS), (FEW, MANY)):
        for call in ("make", "look"):
            with Canned(names(users)) as iam:
                used[call, users].append(_bare(call, users, iam.env))
        for files in FILES:
            with Canned(names(users)) as iam, desk(iam.env) as one:
                used[f"plan {files}", users].append(ended(one.plan(names(users))))
                used[f"apply {files}", users].append(ended(one.apply(files=files)))

    def cpu(what: str, users: int = MANY) -> float:
        return min(each.cpu for each in used[what, users])

    def each(what: str) -> float:
        return 1000 * (cpu(what) - cpu(what, FEW)) / (MANY - FEW)

    def peak(users: int) -> float:
        return max(each.peak for each in used["apply 2", users])

    return [
        Row("boto3's two calls, CPU a user", each("make"), "ms"),
        Row("enrolling with a sealed file, CPU a user beside boto3's", each("apply 1") - each("make"), "ms", 10),
        Row("enrolling with two, the user's and the admins', likewise", each("apply 2") - each("make"), "ms"),
        Row(f"memory, {MANY:,} users", peak(MANY), "MB"),
        Row(f"memory, {MANY:,} users more than {FEW}", peak(MANY) - peak(FEW), "MB", 40),
        Row(f"planning {MANY:,} users, CPU", cpu("plan 2"), "s"),
        Row(f"planning {MANY:,} users, CPU beside the network's", cpu("plan 2") - cpu("look"), "s", 2),
    ]


def _bare(what: str, users: int, env: dict[str, str]) -> Used:
    with desk(env) as one:
        return ended(one.start(what, str(users), how=("-c", BARE)))


def loop() -> list[Row]:
    """Enroll users at the lab, once with a loop of `aws` and `oathtool` and once with a rollout."""
    users = names(LAB_USERS + LOOP)
    with Lab(users=users) as lab, desk({**lab.env, "AWS": aws()}) as one:
        began = time.monotonic()
        subprocess.run(
            ["sh", "-c", SHELL, "sh", *users[:LOOP]],
            env=one.env,
            cwd=one.folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        shell = (time.monotonic() - began) / LOOP
        ended(one.plan(users[LOOP:]))
        ours = ended(one.apply()).seconds / LAB_USERS
    return [
        Row("a loop of aws and oathtool, a user", shell, "s"),
        Row("a rollout, a user", ours, "s"),
        Row("a rollout, of the fiftieth of the loop", ours / (shell / 50), "x", 1),
    ]


PARTS: dict[str, Callable[[], list[Row]]] = {"throttle": throttle, "tin": tin, "cost": cost, "loop": loop}


def main() -> int:
    """Run the bench and return the exit code."""
    return show("rollout", [row for name in sys.argv[1:] or PARTS for row in PARTS[name]()])


if __name__ == "__main__":
    sys.exit(main())
