"""Bench of many accounts: CPU, calls, time and memory of an audit, the lab's organization, and a rollout.

An audit is compared with c7n-org and one policy, with a loop of `mfa-kit audit --profile`, and with a loop of the six
`aws` commands that read the same of an account. The loops get a sample of the accounts, because each account takes them
the same. `python -m tests.bench.organization audit memory` runs these two parts alone.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyrage

from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.child import user_names
from mfa_kit.organization.accounts import AUDIT_ROLE, WORKERS
from tests.bench.programs import aws, c7n_org
from tests.bench.rollout import Stamped
from tests.bench.table import Row, show

ACCOUNTS, USERS, MANY = 100, 20, 1000
# A rollout: its accounts, the users of each, and the bucket of each account with its rates in calls per second, each
# with the most times the ideal. At the lower rate the processors have some time left, so that only the pacing of the
# accounts counts. The higher rate is more than one process reaches, so it has no bound.
ROLLOUT, ENROLLED, RATES, BURST = 20, 100, {10: 1.15, 20: None}, 40
# The CPU time of a user in such a rollout, in times that of a user in one account, of which there are ALONE.
EACH, ALONE = 1.2, 1000
# How often each candidate runs, and the accounts of the loops.
RUNS, LOOP, AWS_LOOP = 3, 5, 2
LATENCY = 0.1
# Numbers of workers: half the default, for which one processor is enough, and the default.
WAITING = (WORKERS // 2, WORKERS)
MFA_KIT = (sys.executable, "-m", "mfa_kit")
# The question that every audit of users begins with.
POLICY = {
    "policies": [
        {
            "name": "users-without-mfa",
            "resource": "aws.iam-user",
            "filters": [{"type": "credential", "key": "mfa_active", "value": False}],
        }
    ]
}
# c7n-org asks for each user, which the role of an audit may not.
C7N_ROLE = "OrganizationAccountAccessRole"
ENROLL_ROLE = "mfa-kit-enroll"
CHOSEN = ("--org", "--role-name", ENROLL_ROLE)
APPLY = ("rollout", "apply", "index.json", *CHOSEN)
MANAGEMENT = "000000000000"
# What an audit reads of an account; the AWS CLI assumes the role by itself.
SIX = (
    ("generate-credential-report",),
    ("get-credential-report",),
    ("get-account-summary",),
    ("get-account-authorization-details",),
    ("list-virtual-mfa-devices",),
    ("get-account-password-policy",),
)
# Builds the lab in a new process, and prints the seconds and how many MB the peak of its memory grew.
BUILD = """
import resource, sys, time
from mfa_kit.lab.aws.server import Lab

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

Lab().server.server_close()
before, began = peak(), time.perf_counter()
Lab(accounts=int(sys.argv[1]), users_per_account=int(sys.argv[2])).server.server_close()
print(time.perf_counter() - began, peak() - before)
"""


@dataclass(frozen=True, slots=True)
class Used:
    """Resources that a process and its children used: CPU and wall seconds, and peak resident memory in MB."""

    cpu: float
    seconds: float
    peak: float


@dataclass(frozen=True, slots=True)
class Desk:
    """A folder of its own, working against one endpoint."""

    folder: Path
    env: Mapping[str, str]

    def run(self, *command: str, ends: Sequence[int] = (0,)) -> Used:
        """Run a command until it ends with one of the exit codes."""
        began = time.perf_counter()
        child = subprocess.Popen(
            command,
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode not in ends:
            raise subprocess.CalledProcessError(child.returncode, command)
        taken = time.perf_counter() - began
        return Used(cpu=usage.ru_utime + usage.ru_stime, seconds=taken, peak=usage.ru_maxrss / 1024)

    def audit(self, *args: str) -> Used:
        """Audit with mfa-kit. There are findings, so it exits with 1."""
        return self.run(*MFA_KIT, "audit", *args, ends=(1,))


@contextmanager
def desk(lab: Lab) -> Iterator[Desk]:
    """Yield a desk that works against a lab, with a profile for each account."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        profiles = "".join(
            f"[profile {number}]\nrole_arn = arn:aws:iam::{number}:role/{AUDIT_ROLE}\ncredential_source = Environment\n"
            for number in members(lab)
        )
        (folder / "config").write_text(profiles, "utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MFA_KIT_"))}
        env = {**kept, **lab.env, "AWS_CONFIG_FILE": str(folder / "config"), "MFA_KIT_HOME": str(folder / "home")}
        # The AWS CLI keeps sessions of roles below HOME, and those of another lab are not valid here.
        yield Desk(folder, {**env, "HOME": name})


def members(lab: Lab) -> list[str]:
    """Return the IDs of the member accounts."""
    return sorted(lab.organization)


def audit() -> list[Row]:
    """Measure an audit of all accounts beside the other programs, in turn, and its calls."""
    with Lab(accounts=ACCOUNTS, users_per_account=USERS) as lab, desk(lab) as one:
        sample = members(lab)[:LOOP]
        (one.folder / "policy.json").write_text(json.dumps(POLICY), "utf-8")
        export = (*MFA_KIT, "accounts", "export", "-o", "accounts.json", "--role-name", C7N_ROLE)
        one.run(*export, "--exclude", MANAGEMENT)
        custodian = (c7n_org(), "run", "-c", "accounts.json", "-u", "policy.json", "-s", "out", "--cache-period", "0")
        profile = ("--output", "json", "--profile")
        candidates: dict[str, Callable[[], float]] = {
            "mfa-kit": lambda: one.audit("--org", "--output", "json").cpu / (ACCOUNTS + 1),
            "c7n-org": lambda: one.run(*custodian).cpu / ACCOUNTS,
            "profiles": lambda: statistics.mean(one.audit(*profile, number).cpu for number in sample),
            "aws": lambda: statistics.mean(_six(one, number) for number in sample[:AWS_LOOP]),
        }
        # The first audit finds no credential reports, which takes two calls more. STS counts in the caller's account.
        one.audit("--org")
        calls = Counter(call.account for call in lab.calls)
        most = 1 + max(calls[number] for number in members(lab))
        rounds = [{name: run() for name, run in candidates.items()} for _ in range(RUNS)]
    ms = {name: 1000 * min(each[name] for each in rounds) for name in candidates}
    return [
        Row("audit, CPU an account", ms["mfa-kit"], "ms"),
        Row("c7n-org with one policy, CPU an account", ms["c7n-org"], "ms"),
        Row("a loop of mfa-kit audit --profile, CPU an account", ms["profiles"], "ms"),
        Row("a loop of six aws commands, CPU an account", ms["aws"], "ms"),
        Row("audit, of an eighth of c7n-org", ms["mfa-kit"] / (ms["c7n-org"] / 8), "x", 1),
        Row("audit, of a tenth of the loop of mfa-kit", ms["mfa-kit"] / (ms["profiles"] / 10), "x", 1),
        Row("audit, of a fiftieth of the loop of aws", ms["mfa-kit"] / (ms["aws"] / 50), "x", 1),
        Row("calls in an account, at most", most, "calls", 8),
    ]


def _six(one: Desk, number: str) -> float:
    # The lab's accounts have no password policy, so the last command ends with an error.
    return sum(one.run(aws(), "iam", *command, "--profile", number, ends=(0, 255)).cpu for command in SIX)


def wait() -> list[Row]:
    """Audit with slow answers. The ideal is that each thread waits for the answers of its accounts and does no more."""
    return [row for workers in WAITING for row in _waited(workers)]


def _waited(workers: int) -> list[Row]:
    with Lab(accounts=ACCOUNTS, users_per_account=USERS) as lab, desk(lab) as one:
        lab.faults.add("*", "latency", at="every", seconds=LATENCY)
        runs = [one.audit("--org", "--workers", str(workers)) for _ in range(RUNS)]
        used = min(runs, key=lambda each: each.seconds)
        calls = Counter(call.account for call in lab.calls)
    each = 1 + statistics.mean(calls[number] for number in members(lab)) / RUNS
    ideal = math.ceil((ACCOUNTS + 1) / workers) * each * LATENCY
    name = f"audit with {1000 * LATENCY:.0f} ms a call, {workers} workers"
    return [Row(name, used.seconds, "s"), Row(f"{name}, of the ideal {ideal:.1f} s", used.seconds / ideal, "x", 1.25)]


def memory() -> list[Row]:
    """Compare the memory that an audit needs for many accounts with what it needs for few."""
    peaks = {}
    for accounts in (ACCOUNTS, MANY):
        with Lab(accounts=accounts, users_per_account=USERS) as lab, desk(lab) as one:
            peaks[accounts] = one.audit("--org", "--output", "html").peak
    return [
        *(Row(f"audit of {accounts} accounts, memory", peak, "MB") for accounts, peak in peaks.items()),
        Row(f"audit of {MANY} accounts, memory of that of {ACCOUNTS}", peaks[MANY] / peaks[ACCOUNTS], "x", 1.3),
    ]


def build() -> list[Row]:
    """Build the lab."""
    command = [sys.executable, "-c", BUILD, str(ACCOUNTS), str(USERS)]
    runs = [
        [float(each) for each in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]
        for _ in range(RUNS)
    ]
    size = f"the lab with {ACCOUNTS} accounts of {USERS} users"
    return [
        Row(f"{size}, built", min(seconds for seconds, _ in runs), "s", 1),
        Row(f"{size}, memory", max(grown for _, grown in runs), "MB", 40),
    ]


def rollout() -> list[Row]:
    """Enroll users in accounts that throttle, each by itself. The ideal is the time that one of them allows alone."""
    with Lab(accounts=1, users_per_account=ALONE) as lab, desk(lab) as one:
        _plan(lab, one, ALONE)
        alone = 1000 * one.run(*MFA_KIT, *APPLY).cpu / ALONE
    row = Row(f"rollout of one account of {ALONE} users, without a limit, CPU a user", alone, "ms")
    return [row, *(row for rate, bound in RATES.items() for row in _rolled_out(rate, bound, alone))]


def _plan(lab: Lab, one: Desk, number: int) -> list[tuple[str, str]]:
    """Plan a rollout to `number` users of each account. Return the account and the name of each user."""
    key = pyrage.x25519.Identity.generate().to_public()
    users = [(account, user) for account in members(lab) for user in user_names(number)]
    roster = "\n".join(["account,user,recipient", *(f"{account},{user},{key}" for account, user in users)])
    (one.folder / "roster.csv").write_text(roster, "utf-8")
    one.run(*MFA_KIT, "rollout", "plan", "roster.csv", "-o", "index.json", *CHOSEN)
    return users


def _rolled_out(rate: int, bound: float | None, alone: float) -> list[Row]:
    with Lab(accounts=ROLLOUT, users_per_account=ENROLLED) as lab, desk(lab) as one:
        users = _plan(lab, one, ENROLLED)
        lab.faults.add("*", "bucket", rate=rate, burst=BURST)
        lab.application.calls = log = Stamped()
        each = 1000 * one.run(*MFA_KIT, *APPLY).cpu / len(users)
        own = [(at, call) for at, call in zip(log.times, log, strict=True) if call.account != MANAGEMENT]
        took = max(at + call.seconds for at, call in own) - min(at for at, _ in own)
        failed = sum(lab.assigned(f"arn:aws:iam::{number}:mfa/{user}") != user for number, user in users)
    answered = sum(call.error != "Throttling" for _, call in own) / ROLLOUT
    ideal = (answered - BURST) / rate
    name = f"rollout of {ROLLOUT} accounts of {ENROLLED} users, {rate} calls/s each"
    return [
        Row(f"{name}, CPU a user", each, "ms"),
        Row(f"{name}, CPU a user, of that of one account", each / alone, "x", EACH),
        Row(f"{name}, users a second", len(users) / took, ""),
        Row(f"{name}, users failed", failed, "users", 0),
        Row(f"{name}, of the ideal {ideal:.1f} s of one", took / ideal, "x", bound),
    ]


PARTS: dict[str, Callable[[], list[Row]]] = {
    "build": build,
    "audit": audit,
    "wait": wait,
    "memory": memory,
    "rollout": rollout,
}


def main() -> int:
    """Run the bench and return the exit code."""
    return show("organization", [row for name in sys.argv[1:] or PARTS for row in PARTS[name]()])


if __name__ == "__main__":
    sys.exit(main())
