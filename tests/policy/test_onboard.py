"""The commands of a safe setup: they are valid, safe to copy, in an order that locks no user out, and they work."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import botocore.session
import pexpect
import pytest
from botocore import xform_name

from mfa_kit.account.evaluator import NO_MFA, PLAIN_KEYS, WITH_MFA, principals_let_in
from mfa_kit.account.reading import read_account
from mfa_kit.account.snapshot import Snapshot
from mfa_kit.adapters.aws.account import AccountReader
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.adapters.aws.member_sessions import read_central_root_access
from mfa_kit.audit import registry
from mfa_kit.audit.finding import Limits, RuleResult
from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws.server import Lab
from mfa_kit.policy.onboard import SetupStep, StepState, account_steps, colleague_steps, password_prompt, shell_script
from mfa_kit.policy.texts import force_mfa
from tests.audit.conftest import ADMINISTRATOR, ago, changed, sound, taken
from tests.audit.test_rules import passwords, user
from tests.conftest import ROOT, bare
from tests.fork_server import fork_server
from tests.sizes import FULL

MODEL = botocore.session.get_session().get_service_model("iam")
# A minimal AWS CLI for these commands: flags are members of the operation's input, and file:// reads a value.
AWS = f"""#!{sys.executable}
import sys, botocore.session
from botocore import xform_name
_, service, operation, *words = sys.argv
client = botocore.session.get_session().create_client(service)
names = client.meta.method_to_api_mapping
method = operation.replace("-", "_")
members = client.meta.service_model.operation_model(names[method]).input_shape.members
flags = {{"--" + xform_name(name, "-"): name for name in members}}
given = {{}}
while words:
    name = flags[words.pop(0)]
    kind = members[name].type_name
    if kind == "boolean":
        given[name] = True
        continue
    value = words.pop(0)
    if value.startswith("file://"):
        value = open(value[7:]).read()
    given[name] = int(value) if kind == "integer" else value
getattr(client, method)(**given)
"""


def commands(steps: list[SetupStep]) -> list[str]:
    return [line for step in steps for line in step.commands]


def aws_lines(lines: list[str]) -> Iterator[list[str]]:
    """Yield the words of each call of the AWS CLI, wherever it is in a line."""
    for line in lines:
        for part in line.removeprefix("# ").replace(" && ", " | ").split(" | "):
            words = shlex.split(part.partition(": ")[2] if ": aws " in part else part)
            if words[:1] == ["aws"]:
                yield words


def check(words: list[str]) -> None:
    """Check a call against botocore's service model: the operation, its flags, and its required members."""
    known = {xform_name(name, "-"): name for name in MODEL.operation_names}
    shape = MODEL.operation_model(known[words[2]]).input_shape
    assert shape is not None
    flags = {"--" + xform_name(name, "-"): name for name in shape.members}
    given = {flags[word] for word in words[3:] if word.startswith("--") and word != "--query"}
    assert set(shape.required_members) <= given, words


@pytest.fixture(scope="module")
def empty() -> Snapshot:
    """Return an account that has only root."""

    def nobody(found: dict[str, object]) -> None:
        found.update(users=[], groups=[], roles=[], password_policy={"minimum_password_length": 6}, root={"mfa": False})

    return taken(changed(nobody))[0]


def test_the_commands_are_real(empty: Snapshot) -> None:
    """Every call and every flag is in IAM's service model. The audit's remedies are checked too."""
    steps = account_steps(empty, admin="boss")
    found = list(aws_lines(commands(steps)))
    assert len(found) > 10
    ill = taken(
        changed(user("bob", password=True, created=ago(99), keys=[{"id": "AKIAAAAAAAAAAAAAAAAA"}], attached=[]))
    )
    answers = registry.audit_snapshot(ill[0], registry.RULES, Limits())
    remedies = [line for answer in answers for finding in answer.findings for line in finding.remedy]
    for words in (*found, *aws_lines(remedies)):
        check(words)


def place(steps: list[SetupStep], text: str) -> int:
    return next(number for number, step in enumerate(steps) if any(text in line for line in step.commands))


def test_the_order_locks_no_user_out(empty: Snapshot) -> None:
    """Root's devices come first, then an administrator who can help, then all users' devices, then the policy."""
    steps = account_steps(empty, admin="boss")
    order = ["Assign MFA device", "update-account-password-policy", "create-user", "put-group-policy"]
    places = [place(steps, each) for each in order]
    assert places == sorted(places)
    admin = steps[place(steps, "create-user")].commands
    assert [line.split()[2] for line in admin if "aws iam create-user" in line or "add-user" in line] == [
        "create-user",
        "add-user-to-group",
    ]
    assert [line for line in admin if "enroll" in line] == [
        "mfa-kit enroll boss --with virtual",
        "mfa-kit enroll boss --with fido2 --add",
    ]
    enforced = steps[place(steps, "put-group-policy")].commands
    assert all("lockout" in line.partition(" && ")[0] for line in enforced if "put-group-policy" in line)
    assert {step.state for step in steps if step.what.startswith(("root: two", "a strong", "a group"))} == {
        StepState.TO_DO
    }


def test_finished_steps_are_marked_as_done() -> None:
    """The account shows that a step is done. Its commands are then printed as comments."""

    def forced(found: dict[str, Any]) -> None:
        found["groups"].append({**found["groups"][1], "name": "bosses", "attached": [ADMINISTRATOR]})
        user("boss", groups=["bosses"], password=True, devices=[{"name": "boss"}])(found)

    steps = account_steps(taken(changed(forced))[0], admin="boss")
    assert {step.what: step.state for step in steps if step.state is not StepState.DONE} == {
        "root: two MFA devices": StepState.UNKNOWN,
        "run the audit again": StepState.TO_DO,
    }
    lines = shell_script(steps).splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == ["mfa-kit audit"]


def test_an_administrator_joins_an_existing_group() -> None:
    """No new group is created, and groups of programs are not used.

    A group without permissions only gets the policy.
    """

    def found(name: str, *policies: str) -> list[str]:
        description = changed(user("eve", groups=[name], password=True))
        description["groups"].append({"name": name, "attached": list(policies)})
        return commands(account_steps(taken(description)[0], admin="boss"))

    joins = "aws iam add-user-to-group --user-name boss --group-name {}".format
    assert joins("bosses") in found("bosses", ADMINISTRATOR)
    assert joins("administrators") in found("bosses")
    empty = found("administrators")
    assert [line for line in empty if "-group --group-name administrators" in line] == []
    assert [line for line in empty if "attach-group-policy --group-name administrators" in line]


def test_unread_steps_are_not_marked_as_done() -> None:
    """Such a step is not marked as "to do" either."""
    denied = ("GetAccountAuthorizationDetails", "GetAccountSummary", "GetAccountPasswordPolicy")
    steps = account_steps(taken(sound(), *denied)[0], admin="boss")
    assert {step.state for step in steps[:-1] if not step.what.startswith("a device")} == {StepState.UNKNOWN}
    (member, *_) = colleague_steps(taken(sound(), *denied)[0], "eve", "people")
    assert member.state is StepState.UNKNOWN


def test_a_support_role_without_its_policy_gets_only_the_policy() -> None:
    """A role of this name is not created again. A new one lets in users of the account, with MFA only."""

    def without(found: dict[str, Any]) -> None:
        next(each for each in found["roles"] if each["name"] == "support")["attached"] = []

    def step(snapshot: Snapshot) -> SetupStep:
        return next(each for each in account_steps(snapshot, admin="boss") if "AWS Support" in each.what)

    found = step(taken(changed(without))[0])
    assert found.state is StepState.TO_DO
    assert [line.split()[2] for line in found.commands] == ["attach-role-policy"]
    fresh = step(taken(changed(lambda found: found["roles"].clear()))[0])
    assert [line.split()[2] for line in fresh.commands] == ["create-role", "attach-role-policy"]
    words = shlex.split(fresh.commands[0])
    trust = words[words.index("--assume-role-policy-document") + 1]
    root = [("AWS", "arn:aws:iam::000000000000:root")]
    assert principals_let_in(trust, WITH_MFA) == root
    assert [principals_let_in(trust, each) for each in (NO_MFA, PLAIN_KEYS)] == [[], []]


def test_govcloud_has_no_root_step() -> None:
    """GovCloud also has its own ARNs."""
    description = json.loads(json.dumps(sound()).replace("arn:aws:", "arn:aws-us-gov:"))
    description["region"] = "us-gov-west-1"
    steps = account_steps(taken(description)[0], admin="boss")
    assert not any(step.what.startswith("root") for step in steps)
    assert "arn:aws:" not in shell_script(steps)


def names_group(words: list[str], name: str) -> bool:
    """Say whether the group's name is one word, or its option's value if it would be an option by itself."""
    return bool({f"--group-name={name}", f"--group={name}"} & {*words}) if name.startswith("-") else name in words


@pytest.mark.parametrize("name", ["o'neil", "a b", "$(reboot)", "-x;y"])
def test_names_are_quoted_for_a_shell(name: str) -> None:
    """Any group name is one word on each line. A user name that IAM would refuse is refused."""
    snapshot = taken(changed(user("bob", password=True)))[0]
    hostile = type(snapshot.groups[1])(name=name, arn=snapshot.groups[1].arn)
    named = Snapshot(
        **{field: getattr(snapshot, field) for field in Snapshot.__slots__} | {"groups": (snapshot.groups[0], hostile)}
    )
    lines = commands(colleague_steps(named, "eve", name))
    calls = list(aws_lines(lines))
    assert any(names_group(words, name) for words in calls)
    assert all(names_group(shlex.split(line), name) for line in lines if "--group" in line)
    with pytest.raises(UsageFault):
        colleague_steps(named, name if name != "-x;y" else "a;b", "programs")


def test_an_unknown_group_is_refused() -> None:
    """A new user can only join an existing group."""
    with pytest.raises(UsageFault, match="there is no group 'nobody'"):
        colleague_steps(taken(sound())[0], "eve", "nobody")


def test_an_existing_colleague_is_not_created_again() -> None:
    """User names are compared case-insensitively."""
    steps = colleague_steps(taken(sound())[0], "Alice", "people")
    assert "create-user" not in shell_script(steps)
    assert [step.state for step in steps] == [StepState.DONE, StepState.DONE, StepState.DONE, StepState.TO_DO]


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """Return an environment with `aws` and `mfa-kit` on its path."""
    real = f'#!/bin/sh\nexec {sys.executable} -m mfa_kit "$@"\n'
    for name, text in {"aws": AWS, "mfa-kit": real if FULL else fork_server().program()}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return {**bare(), "PATH": f"{tmp_path}:{os.environ['PATH']}", "MFA_KIT_HOME": str(tmp_path / "desk")}


def run(line: str, env: dict[str, str], folder: Path) -> None:
    done = subprocess.run(["sh", "-c", line], env=env, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_account_after_all_steps_passes_the_audit(shell: dict[str, str], tmp_path: Path, recipient: str) -> None:
    """A shell runs every line against the lab. Then all rules pass, except those that need a plugged-in key."""
    (tmp_path / "desk").mkdir(mode=0o700)
    (tmp_path / "desk" / "config.toml").write_text(f'recipients = ["{recipient}"]\n')
    with Lab() as lab:
        env = {**shell, **lab.env, "PYTHONPATH": str(ROOT)}
        snapshot = _now(lab)
        for line in commands(account_steps(snapshot, admin="boss")):
            if line.startswith("#") or "fido2" in line or line == "mfa-kit audit":
                continue
            if "file:///dev/stdin" in line:
                _type(line, "correct horse battery staple", env)
            else:
                run(line.replace("--with virtual", "--with virtual --codes generated"), env, tmp_path)
        lab.register_fido("boss", "key")
        told = {
            answer.rule.id: answer.result for answer in registry.audit_snapshot(_now(lab), registry.RULES, Limits())
        }
    # The lab's own admin has a direct policy that allows everything and no device, and no backup was decrypted.
    of_the_lab = {"admins.mfa", "admins.phishing", "admins.spare", "users.direct", "users.groupless", "policies.full"}
    of_the_lab |= {"users.keys-mfa"}
    # Nobody has read when devices were last used, and which keys are recalled.
    of_the_lab |= {"devices.unused", "devices.recalled", "users.spare-untested", "root.device-used"}
    assert {name for name, result in told.items() if result in {RuleResult.FAIL, RuleResult.UNKNOWN}} <= of_the_lab


def _now(lab: Lab) -> Snapshot:
    """Take a snapshot of a running lab."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lab.env.items():
            patch.setenv(name, value)
        lab.account.report = None
        iam = Iam(observe=lambda _: None)
        return read_account(
            iam,
            AccountReader(iam.ask, now=iam.now),
            caller=iam.caller(),
            max_age=0,
            backups=lambda _: (),
            break_glass=tuple,
            central_root=partial(read_central_root_access, iam.ask),
        )


def _type(line: str, password: str, env: dict[str, str]) -> None:
    """Type a password at the prompt and check that it is not shown."""
    child = pexpect.spawn("sh", ["-c", line], env=env, encoding="utf-8", timeout=120)
    child.expect("initial password of .*: ")
    child.sendline(password)
    child.expect(pexpect.EOF)
    child.wait()
    child.close()
    assert child.exitstatus == 0, child.before
    assert password not in (child.before or "")


def test_the_password_is_not_an_argument() -> None:
    """The command line has a prompt, a file, and a quoted name."""
    line = password_prompt("o'neil")
    assert shlex.split(line)[-2:] == ["--password", "file:///dev/stdin"]
    assert "initial password of o'neil" in shlex.split(line)


def test_onboard_and_show_print_the_same_policy() -> None:
    """The policy is for the partition of the account."""
    assert "arn:aws-cn:iam" in force_mfa("aws-cn")


def test_a_weak_password_policy_is_a_step_to_do() -> None:
    """A policy with a long minimum length is weak too if users may not change their own password."""
    steps = account_steps(taken(changed(passwords(allow_change_password=False)))[0], admin="boss")
    assert [step.state for step in steps if step.what.startswith("a strong password")] == [StepState.TO_DO]
