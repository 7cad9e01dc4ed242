"""`policy offboard`: the order of the commands, what is done already, and that each command is real."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mfa_kit.account.evaluator import NO_MFA, PLAIN_KEYS, WITH_MFA, evaluate
from mfa_kit.account.snapshot import Snapshot
from mfa_kit.core.errors import IntegrityFault, NoSuchEntity
from mfa_kit.core.models import Seal
from mfa_kit.enrollment.revoke import session_commands
from mfa_kit.lab.aws.policies import EvalDecision, decide
from mfa_kit.policy.onboard import AdminTraces, StepState, find_traces, offboard_steps, shell_script
from tests.audit.conftest import changed, sound, taken
from tests.audit.test_rules import KEY, user
from tests.conftest import ACCOUNT, MfaKit
from tests.policy.test_onboard import aws_lines, check


def left(snapshot: Snapshot, name: str = "alice") -> list[tuple[str, StepState]]:
    return [(step.what.partition(" ")[0], step.state) for step in offboard_steps(snapshot, name)]


def test_what_can_be_undone_comes_first() -> None:
    """The device is removed after the password, because it protects the sign-in until then."""
    snapshot, _ = taken(changed(user("alice", keys=[KEY])))
    todo = StepState.TO_DO
    assert left(snapshot, "ALICE") == [
        ("deactivate", todo),
        ("end", todo),
        ("delete", todo),
        ("remove", todo),
        ("remove", todo),
        *[("if", StepState.UNKNOWN)] * 3,
        ("what", todo),
    ]
    script = shell_script(offboard_steps(snapshot, "alice"))
    assert "mfa-kit revoke alice --mfa-device arn:aws:iam::000000000000:mfa/alice --leave-without-mfa" in script
    assert "remove-user-from-group --user-name alice --group-name people" in script
    assert script.index("delete-login-profile") < script.index("mfa-kit revoke")


def test_a_session_that_begins_during_the_steps_is_denied_too() -> None:
    """The user can sign in until the password is deleted, so the policy has no time after which sessions work."""
    (step,) = [each for each in offboard_steps(taken(sound())[0], "alice") if each.what.startswith("end")]
    words = shlex.split(step.commands[0])
    document = words[words.index("--policy-document") + 1]
    for request in (PLAIN_KEYS, NO_MFA, WITH_MFA):
        assert (
            evaluate([document], "s3:GetObject", "*", {**request, "aws:TokenIssueTime": "2999-01-01"})
            == "explicit deny"
        )


@pytest.mark.parametrize(
    ("issued", "decision"),
    [("2026-09-21T14:13:19Z", EvalDecision.EXPLICIT), ("2026-09-21T14:13:21Z", EvalDecision.IMPLICIT)],
)
def test_only_sessions_that_began_before_are_denied(issued: str, decision: EvalDecision) -> None:
    """For a lost device, the printed policy denies all requests of older sessions, as the lab's IAM evaluates it."""
    words = shlex.split(session_commands("alice", time=1_790_000_000.0)[0])
    document = words[words.index("--policy-document") + 1]
    assert decide([document], "s3:GetObject", "*", {"aws:TokenIssueTime": issued}) is decision


def test_what_is_done_is_shown_as_done() -> None:
    """A user without keys, password, devices and groups needs only the sessions and the checks."""
    snapshot, _ = taken(changed(user("bob", groups=[])))
    assert {what for what, state in left(snapshot, "bob") if state is StepState.TO_DO} == {"end", "what"}


def test_without_the_report_the_state_is_unknown() -> None:
    """The commands are the same."""
    snapshot, _ = taken(sound(), "GetCredentialReport")
    assert dict(left(snapshot))["deactivate"] is dict(left(snapshot))["delete"] is StepState.UNKNOWN


def test_an_unknown_user_is_refused() -> None:
    """There is nobody to remove. The error has the exit code with which other commands answer it."""
    with pytest.raises(NoSuchEntity, match="there is no user 'zoe'"):
        offboard_steps(taken(sound())[0], "zoe")


def test_every_command_is_real() -> None:
    """Each call and each flag is in the service model, and names are quoted for a shell."""
    description: dict[str, Any] = json.loads(json.dumps(changed(user("o=neil", groups=["people"], password=True))))
    steps = offboard_steps(taken(description)[0], "o=neil")
    lines = [line for step in steps for line in step.commands if "cloudtrail" not in line and "aws signin" not in line]
    found = list(aws_lines(lines))
    assert len(found) > 8
    for words in found:
        check(words)


OLD, NEW, BACKUP = "age1old", "age1new", f"{ACCOUNT}/bob/bob-20261125T011906Z-ddc94635.png.age"


def test_what_an_admin_leaves_behind_is_named() -> None:
    """The key of the user's own file, the backups that it opens, the custodians, the configuration and rosters.

    Without a record of a key, nothing is said to be done, and no key is named as one of somebody else.
    """
    users = {BACKUP: "bob", BACKUP.replace("bob", "alice"): "Alice"}
    own = Seal(backup=BACKUP.replace("bob", "alice"), recipient=OLD, since=1, own=True)
    gone = Seal(backup=BACKUP, recipient="age1gone", since=1, until=2)
    seals = [own, *(Seal(backup=BACKUP, recipient=key, since=1) for key in (OLD, NEW)), gone]
    traces = find_traces("alice", seals, users=users, configured=[OLD], custodians=["ALICE", "carol"])
    named = ("ALICE", "carol")
    assert traces == AdminTraces(backups=1, keys=(OLD,), opens=1, others=(NEW,), configured=True, custodians=named)
    rekey, custodians, rosters = offboard_steps(taken(sound())[0], "alice", traces)[-4:-1]
    assert {step.state for step in (rekey, custodians, rosters)} == {StepState.TO_DO}
    assert rekey.commands[1:] == (
        "# each of these keys opens all of these backups already; add -r for other admins",
        f"mfa-kit backup rekey -i IDENTITY -r {NEW}",
        f"mfa-kit backup exposed -r {OLD}",
    )
    assert rekey.why.startswith("1 backup can be opened with a key of alice")
    assert custodians.why.startswith("the custodians are ALICE, carol")
    assert rosters.commands[1] == f"# in each roster: the column recipient, {OLD}"
    unknown = find_traces("carol", seals, users=users)
    rekey, custodians, rosters = offboard_steps(taken(sound())[0], "alice", unknown)[-4:-1]
    assert {step.state for step in (rekey, custodians, rosters)} == {StepState.UNKNOWN}
    assert rekey.commands[2:] == ("mfa-kit backup rekey -i IDENTITY -r RECIPIENT", "mfa-kit backup exposed -r KEY")


def _backups_of(**recipients: list[str]) -> tuple[list[Seal], dict[str, str]]:
    """Return the records of one backup for each user, and its user. `bob` also has an own file for the key `OLD`."""
    names = {user_: f"{ACCOUNT}/{user_}/{user_}-20261125T011906Z-ddc94635.png.age" for user_ in {*recipients, "bob"}}
    seals = [Seal(backup=names["bob"], recipient=OLD, since=1, own=True)]
    seals += [Seal(backup=names[user_], recipient=key, since=1) for user_ in recipients for key in recipients[user_]]
    return seals, {name: user_ for user_, name in names.items()}


@pytest.mark.parametrize(
    ("recipients", "kept"),
    [
        ({"alice": [OLD, NEW, "age1alice"], "carol": [OLD, NEW]}, (NEW,)),
        ({"alice": [OLD, NEW, "age1alice"], "carol": [NEW]}, (NEW,)),
        ({"alice": [OLD, "age1alice"], "carol": [OLD, NEW]}, ()),
    ],
)
def test_only_keys_that_gain_nothing_are_named(recipients: dict[str, list[str]], kept: tuple[str, ...]) -> None:
    """A user whose key is a recipient of one backup would otherwise get everybody's.

    In the second case, the user who leaves opens only this one backup, but `backup rekey` reaches all of them.
    """
    seals, users = _backups_of(**recipients)
    traces = find_traces("bob", seals, users=users)
    assert traces.others == kept
    script = shell_script(offboard_steps(taken(changed(user("bob")))[0], "bob", traces))
    assert "-r age1alice" not in script
    assert ("backup rekey -i IDENTITY -r RECIPIENT" in script) == (not kept)
    assert ("name each of them with -r" in script) == (not kept)


def test_the_key_of_another_users_own_file_is_not_named() -> None:
    """The user may be no administrator, even if all backups of today are encrypted to this key."""
    seals, users = _backups_of(alice=[OLD, NEW, "age1alice"])
    alice = next(name for name, user_ in users.items() if user_ == "alice")
    own = Seal(backup=alice, recipient="age1alice", since=1, own=True)
    assert find_traces("bob", [*seals, own], users=users).others == (NEW,)


def test_backups_of_removed_devices_are_not_counted() -> None:
    """`backup exposed` does not list them either, so there is nothing to encrypt again."""
    seals, users = _backups_of(alice=[OLD, NEW], carol=[OLD, NEW])
    gone = [name for name, user_ in users.items() if user_ != "alice"]
    traces = find_traces("bob", seals, users=users, gone=gone)
    assert (traces.opens, traces.backups) == (1, 0)


def test_a_backup_without_a_device_is_not_done() -> None:
    """A rollout may have made a device that is not enabled yet: IAM does not name its user."""
    snapshot, _ = taken(changed(user("bob", devices=[])))
    steps = offboard_steps(snapshot, "bob", AdminTraces(backups=1))
    (step,) = [step for step in steps if step.what.startswith("remove the MFA devices")]
    assert step.state is StepState.TO_DO
    assert "aws iam list-virtual-mfa-devices --assignment-status Unassigned" in step.commands
    check(next(aws_lines([*step.commands])))


def test_the_ledger_and_the_custodians_of_this_computer_are_read(
    mfa_kit: MfaKit, users: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An admin with an own file whose key opens another backup, who is a custodian too.

    If the ledger cannot be read, the steps are printed all the same.
    """
    admin, other = users(), users()
    key, spare = (str(pyrage.x25519.Identity.generate().to_public()) for _ in range(2))
    roster = tmp_path / "roster.csv"
    roster.write_text(f"user,recipient\n{admin},{key}\n")
    plan = tmp_path / "plan.json"
    assert mfa_kit.run("rollout", "plan", roster, "-o", plan).code == 0
    assert mfa_kit.run("rollout", "apply", plan, "-r", spare).code == 0
    made = mfa_kit.run("enroll", other, "--with", "virtual", "--codes", "generated", "-r", key, "-r", spare)
    assert made.code == 0, made.err
    custodians = ("--custodian", f"{admin}={key}", "--custodian", f"carol={spare}")
    assert mfa_kit.run("break-glass", "create", "--threshold", "1", *custodians).code == 0
    done = mfa_kit.run("policy", "offboard", admin)
    assert done.code == 0, done.err
    assert f"{admin} was an admin: encrypt the backups to the keys of the other admins [to do]" in done.out
    assert f"mfa-kit backup rekey -i IDENTITY -r {spare}\nmfa-kit backup exposed -r {key}\n" in done.out
    assert "rotate the break-glass identity [to do]" in done.out

    def fail(_: object) -> None:
        raise IntegrityFault("the ledger is damaged", "restore it")

    monkeypatch.setattr("mfa_kit.wiring.backups.read_seals", fail)
    done = mfa_kit.run("policy", "offboard", admin)
    assert (done.code, "can decrypt is not known: the ledger is damaged; restore it" in done.err) == (0, True), done.err
    assert "encrypt the backups to the keys of the other admins [unknown]" in done.out
