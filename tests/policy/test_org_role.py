"""The output of `policy org-role`: valid for CloudFormation, and with exactly the actions that mfa-kit calls."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.policy.texts import OrgRoleChoices, org_role_template
from mfa_kit.wiring.files import packaged_text
from tests.conftest import MfaKit, Result, without
from tests.lab.client import Aws

HUB, ORGANIZATION = "arn:aws:iam::111122223333:role/security", "o-a1b2c3d4e5"
FULL = OrgRoleChoices(hub=HUB, organization=ORGANIZATION, enroll=True, require_mfa=True, users="user/staff/*")
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
KEY = {"id": "AKIAAAAAAAAAAAAAAAAA", "secret": "s"}
# Calls of read verbs that no account has to allow: the first needs no permission, the other is made at home only.
ELSEWHERE = {"GetCallerIdentity", "SimulateCustomPolicy"}


def template(choices: OrgRoleChoices) -> str:
    text, _ = org_role_template(choices, text=packaged_text("policy/org_role.yaml"))
    return text


def statements(role: str) -> list[dict[str, Any]]:
    """Return the policy statements of a role in the template. Resources are those of the lab."""
    text = template(OrgRoleChoices())
    section = re.split(r"^  \w+:$", text.partition(f"\n  {role}:\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    rows = section.partition("      Policies:\n")[2].split("- Sid: ")[1:]
    return [
        {
            "Effect": "Allow",
            "Action": re.findall(r"- ((?:iam|ec2|cloudtrail):\w+)$", row, re.MULTILINE),
            "Resource": re.findall(r'Resource: (?:!Sub )?"?([^"\s]+)', row)[0]
            .replace("${AWS::Partition}:iam::${AWS::AccountId}", "aws:iam::000000000000")
            .replace("${Users}", "user/*"),
        }
        for row in rows
    ]


def actions(role: str) -> list[str]:
    return [action for row in statements(role) for action in row["Action"]]


READ, WRITE = "AuditRole", "EnrollRole"


@pytest.mark.slow
def test_cfn_lint_finds_nothing(tmp_path: Path) -> None:
    """cfn-lint knows CloudFormation's functions and IAM's actions. It does find an action that does not exist."""
    judge = Path(sys.executable).with_name("cfn-lint")
    if not judge.exists():
        without("cfn-lint is not installed")
    text = template(OrgRoleChoices())
    texts = {"plain": text, "full": template(FULL), "wrong": text.replace("iam:ListUsers", "iam:ListUserz")}
    for name, content in texts.items():
        (tmp_path / f"{name}.yaml").write_text(content)
    command = [str(judge), "--format", "parseable", *(str(tmp_path / f"{name}.yaml") for name in texts)]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert {Path(line.partition(":")[0]).name for line in found.splitlines()} == {"wrong.yaml"}
    assert "'listuserz' is not one of" in found


def test_options_are_the_defaults_of_the_parameters(mfa_kit: MfaKit) -> None:
    """The template is on stdout, and the explanation of its lines is on stderr."""
    options = ("--hub", HUB, "--organization", ORGANIZATION, "--enroll", "--require-mfa", "--users", "user/staff/*")
    done = mfa_kit.run("policy", "org-role", *options)
    assert done.out == template(FULL)
    defaults = re.findall(r'^    Default: "(.*)"$', done.out, re.MULTILINE)
    assert defaults == [HUB, ORGANIZATION, "yes", "yes", "user/staff/*"]
    explained = {line.partition(": ")[0] for line in done.err.splitlines()}
    assert explained >= {"aws:PrincipalOrgID", *(re.findall(r"(?:iam|ec2|cloudtrail):\w+(?=:)", done.err))}
    assert set(actions(READ)) | set(actions(WRITE)) == set(re.findall(r"(?:iam|ec2|cloudtrail):\w+(?=:)", done.err))


@pytest.mark.parametrize(
    "wrong",
    [
        {"hub": "arn:aws:iam::1234:role/security"},
        {"hub": f"{HUB}\nResource"},
        {"organization": "o-1"},
        {"users": "staff/*"},
    ],
)
def test_a_value_that_the_template_refuses_is_refused_at_once(wrong: dict[str, str]) -> None:
    """Without this check, CloudFormation would refuse the value in each account."""
    with pytest.raises(UsageFault):
        OrgRoleChoices(**wrong)  # type: ignore[arg-type]


def described(*rows: dict[str, Any]) -> dict[str, Any]:
    """Describe an account in which the commands make every call, with a caller who has these policy statements."""
    policy = {"Version": "2012-10-17", "Statement": list(rows)}
    devices = [{"name": "boss"}, {"kind": "fido", "name": "blue", "certifications": {"FIDO": "L1"}}]
    return {
        "version": 1,
        "groups": [{"name": "people"}],
        "devices": [{"name": "half-made"}],
        "certificates": [{"name": "web"}],
        "users": [
            {"name": "hub", "keys": [KEY], "policies": {"role": policy}},
            {"name": "boss", "password": True, "attached": [ADMINISTRATOR], "devices": devices},
            {"name": "alice", "password": True, "groups": ["people"]},
            {"name": "bob", "password": True, "groups": ["people"]},
        ],
    }


Enter = Callable[..., tuple[Lab, MfaKit]]


@pytest.fixture
def enter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Enter]:
    """Start a lab in which the command line has a role's permissions, except those that are left out."""
    labs = []

    def begin(role: str, *left_out: str) -> tuple[Lab, MfaKit]:
        rows = [{**row, "Action": [each for each in row["Action"] if each not in left_out]} for row in statements(role)]
        described_lab = {**described(*rows), "regions": ["us-east-1"]}
        lab = Lab(description=described_lab, settings=LabSettings(propagation=0)).__enter__()
        labs.append(lab)
        env = {**lab.env, "AWS_ACCESS_KEY_ID": KEY["id"], "AWS_SECRET_ACCESS_KEY": KEY["secret"]}
        for name, value in {**env, "MFA_KIT_HOME": str(tmp_path / "desk")}.items():
            monkeypatch.setenv(name, value)
        return lab, MfaKit(tmp_path / "desk", env)

    yield begin
    for lab in labs:
        lab.__exit__(None, None, None)


# The verbs that read, and which of them needs an action that `audit` does not need.
READERS: dict[str, tuple[str, ...]] = {
    "audit": ("audit", "--output", "json"),
    "lockout": ("policy", "lockout"),
    "orphans": ("orphans", "list"),
    "status": ("status",),
    "plan": ("rollout", "plan", "{folder}/roster.csv", "-o", "{folder}/plan.json"),
    "usage": ("usage", "update"),
}
NEEDED_BY = {
    "iam:ListMFADeviceTags": "orphans",
    "iam:ListUsers": "plan",
    "cloudtrail:LookupEvents": "usage",
    "ec2:DescribeRegions": "usage",
}
SERVICES = {"LookupEvents": "cloudtrail", "DescribeRegions": "ec2"}
REFUSED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}


def read(lab: Lab, desk: MfaKit, folder: Path, *verbs: str) -> dict[str, Result]:
    """Run the reading commands in an account with a user who is newer than the credential report.

    Return their results.
    """
    boss = Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))
    (folder / "roster.csv").write_text("user\nalice\n")
    if "audit" in verbs:
        desk.run("audit")
        boss.iam.create_user(UserName="new")
        boss.iam.create_login_profile(UserName="new", Password="correct horse battery staple")
    return {verb: desk.run(*(word.format(folder=folder) for word in READERS[verb])) for verb in verbs}


def denied(lab: Lab) -> set[str]:
    return {call.operation for call in lab.calls if call.error in REFUSED}


@pytest.mark.slow
def test_the_read_role_has_exactly_the_actions_that_are_called(enter: Enter, tmp_path: Path) -> None:
    """No call of the reading commands is denied, and each action of the role is called."""
    lab, desk = enter(READ)
    found = read(lab, desk, tmp_path, *READERS)
    assert json.loads(found["audit"].out)["holes"] == []
    assert denied(lab) <= ELSEWHERE
    ours = ELSEWHERE | {"CreateUser", "CreateLoginProfile"}
    called = {call.operation for call in lab.calls} - ours
    assert {f"{SERVICES.get(operation, 'iam')}:{operation}" for operation in called} == set(actions(READ))


@pytest.mark.slow
@pytest.mark.parametrize("action", actions(READ))
def test_without_an_action_of_the_read_role_a_call_is_denied(enter: Enter, tmp_path: Path, action: str) -> None:
    """So the role has no action that the commands do not need. `audit` names what it could not read."""
    lab, desk = enter(READ, action)
    verb = NEEDED_BY.get(action, "audit")
    found = read(lab, desk, tmp_path, verb)
    assert action.partition(":")[2] in denied(lab)
    assert verb != "audit" or json.loads(found["audit"].out)["holes"]


# The verbs that write, in the order in which they need each other. The first one fails and is settled.
SEAL = ("--with", "virtual", "--codes", "generated", "-r", "{recipient}")
WRITERS: dict[str, tuple[str, ...]] = {
    "settle": ("enroll", "alice", *SEAL),
    "enroll": ("enroll", "alice", *SEAL),
    "resync": ("resync", "alice", "-i", "{identity}"),
    "revoke": ("revoke", "alice", "--leave-without-mfa", "--yes"),
    "status": ("status", "boss"),
    "select": ("rollout", "plan", "-o", "{folder}/one.json", "--group", "people", "--without-mfa"),
    "plan": ("rollout", "plan", "-o", "{folder}/two.json", "{folder}/roster.csv"),
    "apply": ("rollout", "apply", "{folder}/two.json", "-r", "{recipient}", "--accept-lockout", "--yes"),
    "finish": ("rollout", "finish", "{folder}/two.json"),
}
NEEDED_FOR: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("cloudtrail:LookupEvents", "ec2:DescribeRegions"), ("plan", "apply", "finish")),
    "iam:DeactivateMFADevice": ("enroll", "revoke"),
    "iam:DeleteVirtualMFADevice": ("settle",),
    "iam:GenerateCredentialReport": ("select",),
    "iam:GetAccountAuthorizationDetails": ("select",),
    "iam:GetAccountSummary": ("plan",),
    "iam:GetCredentialReport": ("select",),
    "iam:GetMFADevice": ("status",),
    "iam:ListMFADeviceTags": ("settle",),
    "iam:ListUsers": ("plan",),
    "iam:ListVirtualMFADevices": ("plan",),
    "iam:ResyncMFADevice": ("enroll", "resync"),
}


@dataclass
class Writing:
    """The inputs of the writing commands."""

    folder: Path
    recipient: str
    identity: Path

    def run(self, lab: Lab, desk: MfaKit, *verbs: str) -> list[int]:
        """Run commands and return their exit codes."""
        (self.folder / "roster.csv").write_text("user,kind,action,replaces\nbob,,,\nboss,virtual,replace,boss\n")
        if "settle" in verbs:
            lab.faults.add("EnableMFADevice", "denied", at=1)
        given = {"folder": self.folder, "recipient": self.recipient, "identity": self.identity}
        return [desk.run(*(word.format(**given) for word in WRITERS[verb])).code for verb in verbs]


@pytest.fixture
def writing(tmp_path: Path, recipient: str, identity_file: Path) -> Writing:
    return Writing(tmp_path, recipient, identity_file)


@pytest.mark.slow
def test_the_enroll_role_has_exactly_the_actions_that_are_called(enter: Enter, writing: Writing) -> None:
    """Only the injected failure is denied, and each action of the role is called."""
    lab, desk = enter(WRITE)
    codes = dict(zip(WRITERS, writing.run(lab, desk, *WRITERS), strict=True))
    # A code works once, so IAM refuses those of the resync, which it has just accepted in Enable.
    # Nobody has proven the new device of boss, so `finish` names them.
    assert {verb for verb, code in codes.items() if code} == {"settle", "resync", "finish"}
    assert [call.operation for call in lab.calls if call.error == "AccessDenied"] == ["EnableMFADevice"]
    # IAM checks the permission for tags when it creates a device with tags.
    called = {call.operation for call in lab.calls if call.operation not in ELSEWHERE} | {"TagMFADevice"}
    assert {f"{SERVICES.get(operation, 'iam')}:{operation}" for operation in called} == set(actions(WRITE))


@pytest.mark.slow
@pytest.mark.parametrize("action", sorted(set(actions(WRITE))))
def test_without_an_action_of_the_enrolling_role_a_call_is_denied(enter: Enter, writing: Writing, action: str) -> None:
    """So the role has no action that the commands do not need."""
    lab, desk = enter(WRITE, action)
    writing.run(lab, desk, *NEEDED_FOR.get(action, ("enroll",)))
    operation = "CreateVirtualMFADevice" if action == "iam:TagMFADevice" else action.partition(":")[2]
    assert operation in denied(lab)


@pytest.mark.parametrize("newline", ["", "\n"])
@pytest.mark.parametrize("field", ["hub", "organization", "users"])
def test_a_trailing_newline_is_refused(field: str, newline: str) -> None:
    """CloudFormation would refuse the template's default, because its pattern does not match the newline."""
    texts = {"hub": HUB, "organization": ORGANIZATION, "users": "user/staff/*"}
    texts[field] += newline
    with pytest.raises(UsageFault, match="is not") if newline else nullcontext():
        OrgRoleChoices(hub=texts["hub"], organization=texts["organization"], users=texts["users"])
