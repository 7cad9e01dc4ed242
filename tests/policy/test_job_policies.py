"""The policy of each job: no call of the job's commands is denied, and each action of the policy is needed."""

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mfa_kit.cli import terminal
from mfa_kit.core.message import running
from mfa_kit.core.permissions import Job, job_policy, jobs_with, permissions_of, running_job
from mfa_kit.enrollment import fido_console
from mfa_kit.lab.aws.mfa_devices import Display, LabSettings
from mfa_kit.lab.aws.server import Lab
from tests.conftest import ACCOUNT, MfaKit
from tests.lab.client import Aws
from tests.policy.test_org_role import ELSEWHERE, KEY, SERVICES, denied, described
from tests.sizes import sample
from tests.tokens.person import Person

pytestmark = pytest.mark.slow
SEAL = ("--with", "virtual", "--codes", "generated", "-r", "{recipient}")
KEYS = ("--with", "fido2", "--skip-key-check", "--timeout", "20")
PLAN = "{folder}/plan.json"
MAKE = ("rollout", "plan", "{folder}/roster.csv", "-o", PLAN)
APPLY = (PLAN, "-r", "{recipient}", "--accept-lockout")
# Stands for a user who is newer than the credential report.
NEW = ("a new user",)
# The commands of each job, in the order in which they need each other. The first enrollment of a job fails, and the
# next command settles it.
COMMANDS: dict[Job, list[tuple[str, ...]]] = {
    Job.DESK: [
        ("enroll", "alice", *SEAL),
        ("enroll", "alice", *SEAL),
        ("enroll", "bob", *KEYS),
        ("replace", "alice", *SEAL),
        ("resync", "alice", "-i", "{identity}"),
        ("revoke", "alice", "--mfa-device", "alice-2", "--leave-without-mfa", "--yes"),
        ("status",),
        ("status", "boss"),
        ("orphans", "list"),
        ("enroll", "--root", "--with", "fido2", "--timeout", "1"),
    ],
    Job.STATION: [("rollout", "station", PLAN, *KEYS[2:]), ("rollout", "station", PLAN, "--with", "virtual")],
    Job.ROLLOUT: [
        ("rollout", "plan", "-o", "{folder}/one.json", "--group", "people", "--without-mfa"),
        MAKE,
        ("rollout", "apply", *APPLY),
        ("rollout", "apply", *APPLY),
        ("rollout", "status", PLAN),
        ("rollout", "remind", PLAN),
        ("rollout", "finish", PLAN),
        ("rollout", "undo", PLAN, "--leave-without-mfa"),
    ],
    Job.WORKER: [("rollout", "work", *APPLY), ("rollout", "work", *APPLY)],
    Job.AUDITOR: [
        ("audit",),
        NEW,
        ("audit", "--max-session", "4h"),
        ("policy", "lockout"),
        ("orphans", "list"),
        ("status",),
        ("usage", "update"),
    ],
}
ROSTERS = {Job.STATION: "user,kind\nalice,fido2\nbob,virtual\n"}
FURTHER = "user,kind,action,replaces\nbob,,,\nboss,virtual,replace,boss\n"
# The jobs whose plan somebody else makes.
PLANNED = (Job.STATION, Job.WORKER)


def answers(lab: Lab) -> Iterator[str]:
    """Register alice's key, and type the codes of bob's phone, of which the first pair is refused."""
    threading.Timer(0.3, lambda: lab.register_fido("alice", "alice")).start()
    yield ""
    for _ in range(2):
        yield ""
        seed = lab.seed(f"arn:aws:iam::{ACCOUNT}:mfa/bob")
        display = Display(base64.b32encode(seed).decode())
        yield from (display.shows(lab.account.now() - wait) for wait in (30, 0))


@dataclass
class Work:
    """Runs the commands of a job, each job in a lab of its own."""

    folder: Path
    recipient: str
    identity: Path
    patch: pytest.MonkeyPatch
    labs: list[Lab] = field(default_factory=list)

    def do(self, job: Job, *, without: str = "") -> Lab:
        """Run all commands of a job with its policy, of which an action is left out. Return the lab."""
        rows = [
            {**row, "Action": [action for action in row["Action"] if action != without]}
            for row in job_policy(job, partition="aws")["Statement"]
        ]
        trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
        roles = [{"name": "ops", "trust": {"Version": "2012-10-17", "Statement": [trust]}}]
        description = {**described(*(row for row in rows if row["Action"])), "regions": ["us-east-1"], "roles": roles}
        lab = Lab(description=description, settings=LabSettings(propagation=0)).__enter__()
        self.labs.append(lab)
        (self.folder / "roster.csv").write_text(ROSTERS.get(job, FURTHER))
        if job in PLANNED:
            self._run(lab, lab.env, MAKE, Person())
        lab.faults.add("EnableMFADevice", "error-before", at=1)
        before, person = len(lab.calls), Person(answers(lab))
        keys = {"AWS_ACCESS_KEY_ID": KEY["id"], "AWS_SECRET_ACCESS_KEY": KEY["secret"]}
        for command in COMMANDS[job]:
            self._run(lab, {**lab.env, **keys}, command, person)
        del lab.calls[:before]
        return lab

    def _run(self, lab: Lab, env: dict[str, str], words: tuple[str, ...], person: Person) -> None:
        for name, value in {**env, "MFA_KIT_HOME": str(self.folder / "desk")}.items():
            self.patch.setenv(name, value)
        self.patch.setattr(terminal, "find_person", lambda *_, **__: person)
        given = {"folder": self.folder, "recipient": self.recipient, "identity": self.identity}
        if words[0] == "enroll" and "bob" in words:
            threading.Timer(0.3, lambda: lab.register_fido("bob", "bob")).start()
        if words == NEW:
            boss = Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))
            boss.iam.create_user(UserName="new")
            boss.iam.create_login_profile(UserName="new", Password="correct horse battery staple")
        else:
            MfaKit(self.folder / "desk", env).run(*(word.format(**given) for word in words))


@pytest.fixture
def work(tmp_path: Path, recipient: str, identity_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    monkeypatch.setattr(fido_console, "PACE", 0.05)
    working = Work(tmp_path, recipient, identity_file, monkeypatch)
    yield working
    for lab in working.labs:
        lab.__exit__(None, None, None)


@pytest.mark.parametrize("job", [*Job])
def test_the_policy_of_a_job_allows_exactly_what_its_commands_call(work: Work, job: Job) -> None:
    """No call is denied, and each action is called. IAM checks the permission for tags at creation."""
    lab = work.do(job)
    assert denied(lab) <= ELSEWHERE
    called = {call.operation for call in lab.calls} - {"GetCallerIdentity", "CreateUser", "CreateLoginProfile"}
    called |= {"TagMFADevice"} if "CreateVirtualMFADevice" in called else set()
    actions = {f"{SERVICES.get(operation, 'iam')}:{operation}" for operation in called}
    assert actions == {row.action for row in permissions_of(job)}


EACH_ACTION = [(job, action) for job in Job for action in sorted({row.action for row in permissions_of(job)})]


@pytest.mark.parametrize(("job", "action"), sample(EACH_ACTION, 16))
def test_without_an_action_of_a_job_a_call_is_denied(work: Work, job: Job, action: str) -> None:
    """So no policy has an action that the commands of the job do not need."""
    lab = work.do(job, without=action)
    operation = "CreateVirtualMFADevice" if action == "iam:TagMFADevice" else action.partition(":")[2]
    assert operation in denied(lab)


@pytest.mark.parametrize("job", [*Job])
def test_the_policy_of_a_job_is_printed(mfa_kit: MfaKit, job: Job) -> None:
    """With the purpose of each action on stderr, and with the ARNs of the partition."""
    done = mfa_kit.run("policy", "show", "--for", job, "--partition", "aws-cn")
    assert (done.code, json.loads(done.out)) == (0, job_policy(job, partition="aws-cn"))
    assert all(f"{row.action}: {row.purpose}" in done.err for row in permissions_of(job))


def test_a_denied_call_names_the_policy_of_the_job(work: Work) -> None:
    """The hint names the job of the command that ran. An action that no job needs has no such hint."""
    lab = work.do(Job.WORKER, without="iam:EnableMFADevice")
    assert "EnableMFADevice" in denied(lab)
    failed = (work.folder / "plan-results" / "failed.csv").read_text()
    assert failed.startswith('"user"')
    results = (work.folder / "plan-results" / "results.csv").read_text()
    assert "ask an administrator for the permissions that this job needs: mfa-kit policy show --for worker" in results
    assert jobs_with("GetRole") == [Job.AUDITOR]
    assert jobs_with("DeleteUser") == []


@pytest.mark.parametrize(
    ("command", "operation", "job"),
    [
        ("rollout plan", "ListUsers", Job.ROLLOUT),
        ("rollout remind", "ListMFADevices", Job.ROLLOUT),
        ("rollout station", "EnableMFADevice", Job.STATION),
        ("policy offboard", "GetLoginProfile", Job.AUDITOR),
        ("status", "GetCredentialReport", Job.DESK),
        ("status", "GetAccountPasswordPolicy", Job.AUDITOR),
        ("rollout-like", "EnableMFADevice", Job.DESK),
    ],
)
def test_the_first_job_with_an_action_is_that_of_the_command(command: str, operation: str, job: Job) -> None:
    """If its policy does not have the action, it is the first job whose policy does. No command stays behind."""
    with running(f"mfa-kit {command}"):
        assert jobs_with(operation)[0] is job
    assert running_job() is Job.DESK


def test_a_job_that_is_told_to_choose_a_policy_for_users_is_refused(mfa_kit: MfaKit) -> None:
    """The option would have no effect. A variant that nobody typed is none."""
    done = mfa_kit.run("policy", "show", "--for", "desk", "--variant", "self-managed")
    assert (done.code, done.out) == (2, "")
    assert "--variant belongs to the policy that requires MFA, not to --for" in done.err
    assert mfa_kit.run("policy", "show", "--for", "desk", "--scp").code == 2
