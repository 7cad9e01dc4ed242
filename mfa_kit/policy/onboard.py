"""What a safe start looks like, for an account or for one new colleague, as commands that a person reads and runs.

In the order that locks nobody out: who helps comes before who may need help, a device before what demands it.
Every name is quoted for a shell; no password and no seed is in any line.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.account.evaluator import NOBODY, lets_in
from mfa_kit.account.snapshot import (
    ROOTLESS,
    Entity,
    Part,
    Person,
    Snapshot,
    administers,
    command,
    documents_of,
    people,
)
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import check_user
from mfa_kit.policy.texts import Variant, Wish, policy

ADMINISTRATORS, PEOPLE, ROLE = "administrators", "people", "ec2-instances"
# NIST SP 800-63B-4 3.1.1.2; the reuse is CIS AWS Foundations 3.0, 1.9.
LENGTH, REUSE = "15", "24"
EC2_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


class State(StrEnum):
    """Whether a step was done, as far as the account shows."""

    DONE = "done"
    TO_DO = "to do"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: what, why, and the commands; a command that begins with `# ` is for a person's hands."""

    what: str
    why: str
    state: State
    commands: tuple[str, ...]


def _state(*, done: bool | None) -> State:
    return State.UNKNOWN if done is None else State.DONE if done else State.TO_DO


def prompted(user: str) -> str:
    """Return the command that gives a user a first password, typed at a prompt: in no history, argv or environment."""
    ask = (
        'trap "stty echo; exit 1" INT; stty -echo; printf "%s: " "$1" >/dev/tty; '
        'IFS= read -r p; stty echo; echo >/dev/tty; printf %s "$p"'
    )
    return (
        command("sh", "-c", ask, "sh", f"first password of {user}")
        + " </dev/tty | "
        + command(
            "aws",
            "iam",
            "create-login-profile",
            "--user-name",
            user,
            "--password-reset-required",
            "--password",
            "file:///dev/stdin",
        )
    )


def _made(user: str, group: str) -> tuple[str, ...]:
    return (
        command("aws", "iam", "create-user", "--user-name", user),
        command("aws", "iam", "add-user-to-group", "--user-name", user, "--group-name", group),
    )


def colleague(snapshot: Snapshot, user: str, group: str) -> list[Step]:
    """Return the steps for one new colleague. Raise UsageFault for a name that IAM would refuse."""
    check_user(user)
    hole = snapshot.hole(Part.DETAILS)
    there = next((one for one in people(snapshot) if one.name.lower() == user.lower()), None)
    groups = {one.name: one for one in snapshot.groups}
    if group not in groups and hole is None:
        raise UsageFault(
            f"there is no group {group!r}", "mfa-kit policy onboard makes groups; list them: aws iam list-groups"
        )
    member = None if hole else there is not None and group in there.user.groups
    password = None if hole else there is not None and there.password
    steps = [
        Step(
            what=f"make {user}, in group {group}",
            why="rights come through the group: nothing is attached to the user",
            state=_state(done=member),
            commands=_made(user, group) if there is None else _made(user, group)[1:],
        ),
        Step(
            what="a first password, to be changed at the first sign-in",
            why="it is typed at a prompt: no line of the history has it; keep it to yourself for now",
            state=_state(done=password),
            commands=(prompted(user),),
        ),
        Step(
            what="a device, and only then hand over the password",
            why="so MFA is there at the first sign-in, and no forced password change is caught without it",
            state=_state(done=None if there is None and hole else there is not None and there.mfa is True),
            commands=(command("mfa-kit", "enroll", user, "--with", "virtual"),),
        ),
    ]
    return [*steps, _checked(group)]


def _checked(group: str) -> Step:
    return Step(
        what="see that nobody is locked out",
        why="exit code 6 while anybody would be",
        state=State.TO_DO,
        commands=(command("mfa-kit", "policy", "lockout", "--group", group),),
    )


def start(snapshot: Snapshot, *, admin: str) -> list[Step]:
    """Return the steps for an account, from root to enforcement."""
    check_user(admin)
    everybody = people(snapshot)
    known = snapshot.hole(Part.DETAILS) is None
    return [
        *_root(snapshot),
        _passwords(snapshot),
        *_administrator(everybody, snapshot, admin=admin, known=known),
        _people(snapshot, known=known),
        _role(snapshot, known=known),
        *_devices(everybody, snapshot),
        *_enforced(everybody, known=known),
        _rest(),
    ]


def _root(snapshot: Snapshot) -> list[Step]:
    if snapshot.partition in ROOTLESS:
        return []
    summary = snapshot.summary
    devices = snapshot.root_devices
    two = None if devices is None else len(devices) > 1
    if summary.get("AccountMFAEnabled") == 0:
        two = False
    keys = summary["AccountAccessKeysPresent"] == 0 if "AccountAccessKeysPresent" in summary else None
    return [
        Step(
            what="root: two MFA devices",
            why="security keys, kept apart, for the day on which nothing else helps; only root sees how many there are",
            state=_state(done=two),
            commands=(
                "# sign in as root; AWS has no API for this: Security credentials page, Assign MFA device, twice",
            ),
        ),
        Step(
            what="root: no access keys",
            why="no policy limits them",
            state=_state(done=keys),
            commands=("# sign in as root: Security credentials page, Access keys, make inactive and delete",),
        ),
    ]


def _passwords(snapshot: Snapshot) -> Step:
    policy_ = snapshot.passwords
    done = None if policy_ is None else policy_.custom and policy_.length >= int(LENGTH) and policy_.may_change
    return Step(
        what="a strong password policy, before anybody chooses a password",
        why="length first; what the command does not name falls back to IAM's default",
        state=_state(done=done),
        commands=(
            command(
                "aws",
                "iam",
                "update-account-password-policy",
                "--minimum-password-length",
                LENGTH,
                "--allow-users-to-change-password",
                "--password-reuse-prevention",
                REUSE,
            ),
        ),
    )


def _administering(everybody: Sequence[Person], snapshot: Snapshot) -> str | None:
    """Return the group that makes administrators of people, if there is one; one that has programs only is another."""
    somebody = Entity(name="somebody", arn=f"arn:{snapshot.partition}:iam::{snapshot.account}:user/somebody")
    groups = {one.name: one for one in snapshot.groups}
    names = [ADMINISTRATORS, *(name for one in everybody if one.admin and one.password for name in one.user.groups)]
    found = (groups[name] for name in names if name in groups)
    able = (one.name for one in found if administers(somebody, documents_of(one, snapshot), boundary=None))
    return next(able, None)


def _administrator(everybody: Sequence[Person], snapshot: Snapshot, *, admin: str, known: bool) -> list[Step]:
    there = any(one.name == admin for one in everybody)
    in_group = [one for one in everybody if one.admin and one.user.groups]
    policy_ = f"arn:{snapshot.partition}:iam::aws:policy/AdministratorAccess"
    administering = _administering(everybody, snapshot)
    group = administering or ADMINISTRATORS
    made = any(one.name == group for one in snapshot.groups)
    return [
        Step(
            what="a group of administrators",
            why="the policy is on the group: who comes and goes changes groups",
            state=_state(done=administering is not None if known else None),
            commands=(
                *(
                    ()
                    if made and not administering
                    else (command("aws", "iam", "create-group", "--group-name", group),)
                ),
                command("aws", "iam", "attach-group-policy", "--group-name", group, "--policy-arn", policy_),
            ),
        ),
        Step(
            what=f"an administrator, {admin}, instead of root",
            why="in the group, and with a device before anybody signs in by the password",
            state=_state(done=any(one.mfa and one.password for one in in_group) if known else None),
            commands=(
                *_made(admin, group)[1 if there else 0 :],
                prompted(admin),
                command("mfa-kit", "enroll", admin, "--with", "virtual"),
                "# sign in as this administrator in another browser; go on only when that works",
                command("mfa-kit", "enroll", admin, "--with", "fido2", "--add"),
            ),
        ),
    ]


def _people(snapshot: Snapshot, *, known: bool) -> Step:
    others = [one for one in snapshot.groups if one.name != ADMINISTRATORS]
    access = f"arn:{snapshot.partition}:iam::aws:policy/ReadOnlyAccess"
    return Step(
        what="groups for everybody else, each with its policies",
        why="ReadOnlyAccess is a beginning; give each group what its work needs",
        state=_state(done=bool(others) if known else None),
        commands=(
            command("aws", "iam", "create-group", "--group-name", PEOPLE),
            command("aws", "iam", "attach-group-policy", "--group-name", PEOPLE, "--policy-arn", access),
            "# each colleague: " + command("mfa-kit", "policy", "onboard", "--group", PEOPLE, "--user") + " NAME",
        ),
    )


def _role(snapshot: Snapshot, *, known: bool) -> Step:
    there = any(
        kind == "Service" and name.startswith("ec2.amazonaws.com")
        for role in snapshot.roles
        for kind, name in lets_in(role.trust or NOBODY, {})
    )
    trust = json.dumps(EC2_TRUST, separators=(",", ":"))
    return Step(
        what="a role for EC2 instances, instead of keys on them",
        why="its keys change by themselves; attach what the instances need",
        state=_state(done=there if known else None),
        commands=(
            command("aws", "iam", "create-role", "--role-name", ROLE, "--assume-role-policy-document", trust),
            command("aws", "iam", "create-instance-profile", "--instance-profile-name", ROLE),
            command("aws", "iam", "add-role-to-instance-profile", "--instance-profile-name", ROLE, "--role-name", ROLE),
        ),
    )


def _devices(everybody: Sequence[Person], snapshot: Snapshot) -> list[Step]:
    """Enroll who has a password and no device, before anything demands one."""
    bare = [one for one in everybody if one.password and one.mfa is False]
    unknown = any(one.mfa is None or one.credentials is None for one in everybody) or snapshot.hole(Part.REPORT)
    return [
        Step(
            what=f"a device for everybody with a password: {len(bare)} have none",
            why="before the policy that demands it",
            state=State.UNKNOWN if unknown and not bare else _state(done=not bare),
            commands=tuple(command("mfa-kit", "enroll", one.name, "--with", "virtual") for one in bare),
        )
    ]


def _enforced(everybody: Sequence[Person], *, known: bool) -> list[Step]:
    """Demand MFA last, of the groups with console users, each after it was looked at."""
    told = {one.name: one.demands_mfa for one in everybody if one.password}
    free = {name for one in everybody if one.password and told[one.name] is not True for name in one.user.groups}
    fresh = {ADMINISTRATORS, PEOPLE} if not any(one.password for one in everybody) else set()
    paths = any(one.has_path for one in everybody)
    show = ["mfa-kit", "policy", "show", *(["--user-paths"] if paths else [])]
    groups = sorted(free | fresh)
    commands = [f"{shlex.join(show)} > force-mfa.json"] if groups else []
    for group in groups:
        check = command("mfa-kit", "policy", "lockout", "--policy", "force-mfa.json", "--group", group)
        put = command(
            "aws",
            "iam",
            "put-group-policy",
            "--group-name",
            group,
            "--policy-name",
            "force-mfa",
            "--policy-document",
            "file://force-mfa.json",
        )
        commands.append(f"{check} && {put}")
    return [
        Step(
            what="demand MFA of every group with console users, last",
            why="lockout ends with 6 while anybody would be locked out, and then nothing is attached",
            state=_state(done=not groups if known else None),
            commands=tuple(commands),
        )
    ]


def _rest() -> Step:
    why = "what is still open, and what came since"
    return Step(what="look again", why=why, state=State.TO_DO, commands=("mfa-kit audit",))


def script(steps: Sequence[Step]) -> str:
    """Write the steps as a shell script that is read, and copied line by line: nothing in it runs by itself."""
    lines = ["# Read each step before you run it. mfa-kit runs none of this."]
    for number, step in enumerate(steps, 1):
        lines += ["", f"# {number}. {step.what} [{step.state}]", f"#    {step.why}"]
        lines += [f"# done: {line}" if step.state is State.DONE else line for line in step.commands]
    # A name with a line break in it, which only a snapshot of somebody else's has, would end a comment.
    return "\n".join(line.replace("\n", "\\n") for line in lines)


def force_mfa(partition: str) -> str:
    """Return the policy that lockout looks at where none is named: the one that `policy show` prints."""
    document, _ = policy(Wish(partition=partition, variant=Variant.SELF))
    return json.dumps(document)
