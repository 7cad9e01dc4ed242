"""`policy offboard`: the order of the commands, what is done already, and that each command is real."""

import json
import shlex
from typing import Any

import pytest

from mfa_kit.account.evaluator import NO_MFA, PLAIN_KEYS, WITH_MFA, evaluate
from mfa_kit.account.snapshot import Snapshot
from mfa_kit.core.errors import UsageFault
from mfa_kit.enrollment.revoke import session_commands
from mfa_kit.lab.aws.policies import EvalDecision, decide
from mfa_kit.policy.onboard import StepState, offboard_steps, shell_script
from tests.audit.conftest import changed, sound, taken
from tests.audit.test_rules import KEY, user
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
    """There is nobody to remove."""
    with pytest.raises(UsageFault, match="there is no user 'zoe'"):
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
