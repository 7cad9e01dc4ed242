"""The steps of a safe setup, for an account or for one new user, and for a user who leaves.

The steps are commands for a person to read and run.

The order of the steps prevents lockouts: administrators come before other users, and devices come before the policy
that requires them. Every name is quoted for a shell. No line contains a password or a secret. For a
user who leaves, the first steps end the user's access, and can be undone. MFA devices are removed later, because that
cannot be undone.

In the root ceremony (root_ceremony.md), several people give root two MFA devices. If the break-glass identity needs at
least two custodians, no single person can then sign in as root.
"""

import json
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.account.evaluator import (
    MFA,
    WITH_MFA,
    about,
    administers,
    entity_policies,
    principals_let_in,
    trust_flaw,
    trust_text,
)
from mfa_kit.account.snapshot import Entity, OrganizationPlace, Snapshot, SnapshotPart
from mfa_kit.account.users import AccountUser, account_users
from mfa_kit.core.errors import NoSuchEntity, UsageFault
from mfa_kit.core.letter import Letter, fill_template
from mfa_kit.core.message import Command, Message, command, mfa_kit, suggest
from mfa_kit.core.models import Seal, check_user
from mfa_kit.core.recovery_keys import RecoveryKeyUse, recommended
from mfa_kit.core.text import count_of
from mfa_kit.enrollment.revoke import session_commands

ADMINISTRATORS, PEOPLE, ROLE, SUPPORT_ROLE = "administrators", "people", "ec2-instances", "support"
SUPPORT = "iam::aws:policy/AWSSupportAccess"
# The minimum length of passwords (NIST SP 800-63B-4 3.1.1.2), and how many earlier passwords are blocked (CIS AWS
# Foundations 3.0, 1.9).
LENGTH, REUSE = "15", "24"
EC2_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


class StepState(StrEnum):
    """Whether a step was done, as far as the snapshot shows."""

    DONE = "done"
    TO_DO = "to do"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupStep:
    """One step: what it does, why, and its commands. A command that begins with `# ` is a manual instruction."""

    what: str
    why: str
    state: StepState
    commands: tuple[str, ...]


def _state(*, done: bool | None, known: bool = True) -> StepState:
    if done is None or not known:
        return StepState.UNKNOWN
    return StepState.DONE if done else StepState.TO_DO


def password_prompt(user: str) -> str:
    """Return a shell command that asks for a user's first password.

    The password does not appear in the shell history, in process arguments or in the environment.
    """
    ask = (
        'trap "stty echo; exit 1" INT; stty -echo; printf "%s: " "$1" >/dev/tty; '
        'IFS= read -r p; stty echo; echo >/dev/tty; printf %s "$p"'
    )
    return (
        command("sh -c {} sh {}", ask, f"initial password of {user}")
        + " </dev/tty | "
        + command(
            "aws iam create-login-profile --user-name {} --password-reset-required --password file:///dev/stdin",
            user,
        )
    )


def _create_user(user: str, group: str) -> tuple[str, str]:
    return (
        command("aws iam create-user --user-name {}", user),
        command("aws iam add-user-to-group --user-name {} --group-name {}", user, group),
    )


def _existing(snapshot: Snapshot, name: str) -> AccountUser | None:
    """Return the user with this name, or None. IAM ignores the case of names."""
    return next((user for user in account_users(snapshot) if user.name.lower() == name.lower()), None)


def colleague_steps(snapshot: Snapshot, user: str, group: str) -> list[SetupStep]:
    """Return the steps for the new user `user` in the group `group`.

    Raise UsageFault for a name that IAM would refuse, or if there is no such group.
    """
    check_user(user)
    known = snapshot.hole(SnapshotPart.DETAILS) is None
    if known and group not in {entity.name for entity in snapshot.groups}:
        raise UsageFault(
            f"there is no group {group!r}",
            Message("list the groups", command("aws iam list-groups"), "to create some", mfa_kit("policy onboard")),
        )
    existing_user = _existing(snapshot, user)
    create, join = _create_user(user, group)
    return [
        SetupStep(
            what=f"create {user} in group {group}",
            why="permissions come from the group; no policy is attached to the user",
            state=_state(done=existing_user is not None and group in existing_user.user.groups, known=known),
            commands=(create, join) if existing_user is None else (join,),
        ),
        SetupStep(
            what="an initial password, which must be changed at the first sign-in",
            why="a prompt asks for the password, so it is not in the shell history; do not hand over the password yet",
            state=_state(done=existing_user is not None and existing_user.password, known=known),
            commands=(password_prompt(user),),
        ),
        SetupStep(
            what="a device; hand over the password only after this step",
            why="with the device, the user has MFA at the first sign-in and can change the password",
            state=_state(
                done=existing_user is not None and existing_user.mfa is True, known=known or existing_user is not None
            ),
            commands=(mfa_kit("enroll {} --with virtual", user),),
        ),
        _checked(group),
    ]


def _checked(group: str) -> SetupStep:
    return SetupStep(
        what="check that no user is locked out",
        why="the exit code is 6 if a user would be locked out",
        state=StepState.TO_DO,
        commands=(mfa_kit("policy lockout --group {}", group),),
    )


def account_steps(snapshot: Snapshot, *, admin: str) -> list[SetupStep]:
    """Return the steps for a whole account, from root to the policy that requires MFA.

    `admin` is the name of the first administrator. Raise UsageFault if IAM would refuse this name.
    """
    check_user(admin)
    everybody = account_users(snapshot)
    known = snapshot.hole(SnapshotPart.DETAILS) is None
    administering = _administering(everybody, snapshot)
    return [
        *_root(snapshot),
        _passwords(snapshot),
        _group_of_administrators(administering, snapshot, known=known),
        _first_administrator(everybody, administering or ADMINISTRATORS, admin=admin, known=known),
        _people(snapshot, known=known),
        _role(snapshot, known=known),
        _support(snapshot, known=known),
        _devices(everybody, snapshot),
        _enforced(everybody, known=known),
        _rest(),
    ]


def _root(snapshot: Snapshot) -> list[SetupStep]:
    if not snapshot.has_root:
        return []
    summary = snapshot.summary
    devices = snapshot.root_devices
    two = None if devices is None else len(devices) > 1
    if summary.get("AccountMFAEnabled") == 0:
        two = False
    keys = summary["AccountAccessKeysPresent"] == 0 if "AccountAccessKeysPresent" in summary else None
    return [
        SetupStep(
            what="root: two MFA devices",
            why="root is for emergencies, so keep two security keys, in two places; only root sees its own devices",
            state=_state(done=two),
            commands=(
                "# sign in as root; AWS has no API for this: Security credentials page, Assign MFA device, twice",
            ),
        ),
        SetupStep(
            what="root: no access keys",
            why="policies do not limit root, so they do not limit its access keys either",
            state=_state(done=keys),
            commands=("# sign in as root: Security credentials page, Access keys, deactivate and delete",),
        ),
    ]


def _passwords(snapshot: Snapshot) -> SetupStep:
    policy_ = snapshot.passwords
    done = None if policy_ is None else policy_.custom and policy_.length >= int(LENGTH) and policy_.may_change
    return SetupStep(
        what="a strong password policy, before users choose passwords",
        why="length matters most; settings that the command does not name return to IAM's defaults",
        state=_state(done=done),
        commands=(
            command(
                "aws iam update-account-password-policy --minimum-password-length {} "
                "--allow-users-to-change-password --password-reuse-prevention {}",
                LENGTH,
                REUSE,
            ),
        ),
    )


def _administering(everybody: Sequence[AccountUser], snapshot: Snapshot) -> str | None:
    """Return the name of a group whose policies make its members administrators, or None if no such group exists.

    Only the group `administrators`, and groups of a user who is an administrator with a password, are considered.
    """
    somebody = Entity(name="somebody", arn=f"arn:{snapshot.partition}:iam::{snapshot.account}:user/somebody")
    groups = {group.name: group for group in snapshot.groups}
    names = [ADMINISTRATORS, *(name for user in everybody if user.admin and user.password for name in user.user.groups)]
    candidates = (groups[name] for name in names if name in groups)
    context = {**about(somebody, snapshot.at), **WITH_MFA}
    policies = ((group.name, entity_policies(group, snapshot.policies)) for group in candidates)
    return next((name for name, of_group in policies if administers(somebody, of_group, context)), None)


def _group_of_administrators(administering: str | None, snapshot: Snapshot, *, known: bool) -> SetupStep:
    group = administering or ADMINISTRATORS
    create = command("aws iam create-group --group-name {}", group)
    policy = f"arn:{snapshot.partition}:iam::aws:policy/AdministratorAccess"
    attach = command("aws iam attach-group-policy --group-name {} --policy-arn {}", group, policy)
    exists = any(entity.name == group for entity in snapshot.groups)
    return SetupStep(
        what="a group of administrators",
        why="the policy is attached to the group, so you add or remove administrators by group membership",
        state=_state(done=administering is not None, known=known),
        commands=(attach,) if exists and not administering else (create, attach),
    )


def _first_administrator(everybody: Sequence[AccountUser], group: str, *, admin: str, known: bool) -> SetupStep:
    in_group = [user for user in everybody if user.admin and user.user.groups]
    create, join = _create_user(admin, group)
    return SetupStep(
        what=f"an administrator, {admin}, instead of root",
        why="the administrator is in the group, and has a device before the first sign-in",
        state=_state(done=any(user.mfa and user.password for user in in_group), known=known),
        commands=(
            *((join,) if any(user.name == admin for user in everybody) else (create, join)),
            password_prompt(admin),
            mfa_kit("enroll {} --with virtual", admin),
            "# sign in as this administrator in another browser; continue only if that works",
            mfa_kit("enroll {} --with fido2 --add", admin),
        ),
    )


def _people(snapshot: Snapshot, *, known: bool) -> SetupStep:
    others = [group for group in snapshot.groups if group.name != ADMINISTRATORS]
    access = f"arn:{snapshot.partition}:iam::aws:policy/ReadOnlyAccess"
    return SetupStep(
        what="groups for all other users, each with its policies",
        why="ReadOnlyAccess is a start; give each group the permissions that its work needs",
        state=_state(done=bool(others), known=known),
        commands=(
            command("aws iam create-group --group-name {}", PEOPLE),
            command("aws iam attach-group-policy --group-name {} --policy-arn {}", PEOPLE, access),
            "# for each colleague: " + mfa_kit("policy onboard --group {} --user NAME", PEOPLE),
        ),
    )


def _role(snapshot: Snapshot, *, known: bool) -> SetupStep:
    has_role = any(
        kind == "Service" and name.startswith("ec2.amazonaws.com")
        for role in snapshot.roles
        for kind, name in principals_let_in(trust_text(role), {})
    )
    known = known and (has_role or not any(map(trust_flaw, snapshot.roles)))
    trust = json.dumps(EC2_TRUST, separators=(",", ":"))
    return SetupStep(
        what="a role for EC2 instances, instead of access keys on them",
        why="AWS rotates the role's credentials; attach the policies that the instances need",
        state=_state(done=has_role, known=known),
        commands=(
            command("aws iam create-role --role-name {} --assume-role-policy-document {}", ROLE, trust),
            command("aws iam create-instance-profile --instance-profile-name {}", ROLE),
            command("aws iam add-role-to-instance-profile --instance-profile-name {} --role-name {}", ROLE, ROLE),
        ),
    )


def _support(snapshot: Snapshot, *, known: bool) -> SetupStep:
    """Return the step for a role that can open cases with AWS Support (CIS AWS Foundations 3.0, 1.17)."""
    is_attached = any(arn.endswith(f":{SUPPORT}") for role in snapshot.roles for arn in role.attached)
    exists = any(role.name == SUPPORT_ROLE for role in snapshot.roles)
    trust = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": f"arn:{snapshot.partition}:iam::{snapshot.account}:root"},
                    "Action": "sts:AssumeRole",
                    "Condition": {"Bool": {MFA: "true"}},
                }
            ],
        },
        separators=(",", ":"),
    )
    create = command("aws iam create-role --role-name {} --assume-role-policy-document {}", SUPPORT_ROLE, trust)
    policy = f"arn:{snapshot.partition}:{SUPPORT}"
    attach = command("aws iam attach-role-policy --role-name {} --policy-arn {}", SUPPORT_ROLE, policy)
    return SetupStep(
        what="a role for AWS Support, so that an incident needs no administrator",
        why="users need MFA to assume this role; allow users who may open cases to call sts:AssumeRole on it",
        state=_state(done=is_attached, known=known),
        commands=(attach,) if exists else (create, attach),
    )


def _devices(everybody: Sequence[AccountUser], snapshot: Snapshot) -> SetupStep:
    """Return the step that enrolls the users who have a password but no device."""
    bare = [user for user in everybody if user.password and user.mfa is False]
    unknown = any(user.mfa is None or user.credentials is None for user in everybody) or snapshot.hole(
        SnapshotPart.REPORT
    )
    return SetupStep(
        what=f"a device for each user with a password (users without a device: {len(bare)})",
        why="users need a device before a policy requires MFA",
        state=StepState.UNKNOWN if unknown and not bare else _state(done=not bare),
        commands=tuple(mfa_kit("enroll {} --with virtual", user.name) for user in bare),
    )


def _enforced(everybody: Sequence[AccountUser], *, known: bool) -> SetupStep:
    """Return the step that attaches the policy to the groups that `_groups_without_mfa` returns.

    The commands of the step attach the policy to a group only if none of its users would be locked out.
    """
    groups = _groups_without_mfa(everybody)
    show = ["mfa-kit", "policy", "show", *(["--user-paths"] if any(user.has_path for user in everybody) else [])]
    commands = [f"{shlex.join(show)} > force-mfa.json"] if groups else []
    commands += [_check_and_put(group) for group in groups]
    return SetupStep(
        what="require MFA for every group with console users, as the last step",
        why="if a user would be locked out, lockout exits with 6 and the policy is not attached",
        state=_state(done=not groups, known=known),
        commands=tuple(commands),
    )


def _groups_without_mfa(everybody: Sequence[AccountUser]) -> list[str]:
    """Return the names of the groups with a console user for whom it is not certain that a policy requires MFA.

    If the account has no console users, return the groups that the earlier steps create.
    """
    console = [user for user in everybody if user.password]
    free = {name for user in console if user.demands_mfa is not True for name in user.user.groups}
    return sorted(free if console else {ADMINISTRATORS, PEOPLE})


def _check_and_put(group: str) -> str:
    check = mfa_kit("policy lockout --policy force-mfa.json --group {}", group)
    put = command("aws iam put-group-policy --group-name {} --policy-name force-mfa", group)
    return f"{check} && {put} --policy-document file://force-mfa.json"


def _rest() -> SetupStep:
    why = "the audit lists the problems that are left, and new ones"
    return SetupStep(what="run the audit again", why=why, state=StepState.TO_DO, commands=(mfa_kit("audit"),))


def shell_script(steps: Sequence[SetupStep]) -> str:
    """Return the steps as the text of a shell script, to be read and copied line by line."""
    lines = ["# Read each step before you run it. mfa-kit does not run any of this."]
    for number, step in enumerate(steps, 1):
        lines += ["", f"# {number}. {step.what} [{step.state}]", f"#    {step.why}"]
        done = step.state is StepState.DONE
        lines += [f"# done: {line.removeprefix('# ')}" if done else line for line in step.commands]
    # If a name contained a line break, the shell would run the text after the line break. IAM allows no line breaks in
    # names, but a snapshot from another source may contain one.
    return "\n".join(line.replace("\n", "\\n") for line in lines)


# The start of the filter for a user's events in CloudTrail. The user's name is appended.
BY_NAME = "AttributeKey=Username,AttributeValue="


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminTraces:
    """What this computer knows about the keys of a user who may have been an admin.

    `backups` is the number of backups of the user's own devices. `keys` are the public keys of the user's own files,
    and `opens` is the number of the administrators' backups that are encrypted to one of them. `others` are the keys
    that gain no access if all backups are encrypted to them (see `_kept_recipients`). `configured` says whether the
    configuration has one of the keys. `custodians` are the names of the custodians of the break-glass identity.
    """

    backups: int = 0
    keys: tuple[str, ...] = ()
    opens: int = 0
    others: tuple[str, ...] = ()
    configured: bool = False
    custodians: tuple[str, ...] = ()


def find_traces(
    user: str,
    seals: Sequence[Seal],
    *,
    users: Mapping[str, str],
    gone: Collection[str] = (),
    configured: Collection[str] = (),
    custodians: Sequence[str] = (),
) -> AdminTraces:
    """Return what is known about the keys of a user.

    `seals` are the ledger's records of recipients, and `users` has the user of each backup by its name. `gone` has the
    names of backups whose device no longer exists; they are not counted. `configured` are the recipients in the
    configuration.
    """
    of_user = {name for name, owner in users.items() if owner.lower() == user.lower()}
    own = {seal.recipient for seal in seals if seal.own and seal.backup in of_user}
    of_users = {seal.recipient for seal in seals if seal.own}
    recipients: dict[str, set[str]] = {}
    for seal in seals:
        if not seal.own and seal.until is None and seal.backup not in gone:
            recipients.setdefault(seal.backup, set()).add(seal.recipient)
    opened = [keys for keys in recipients.values() if keys & own]
    return AdminTraces(
        backups=len(of_user.difference(gone)),
        keys=tuple(sorted(own)),
        opens=len(opened),
        others=tuple(sorted(_kept_recipients(opened, recipients.values(), of_users))),
        configured=bool(own & {*configured}),
        custodians=tuple(custodians),
    )


def _kept_recipients(
    opened: Collection[set[str]], backups: Collection[set[str]], of_users: Collection[str]
) -> set[str]:
    """Return the keys to which backups can be encrypted again without giving a key access to more of them.

    Each set has the recipients of a backup. `opened` are those of the backups that the user who leaves can open. A key
    is returned if it opens all of these, and all backups that `backup rekey` could reach with the private key of
    another of these keys. No key of a user's own file (`of_users`) is returned: its user may be no administrator.
    """
    common = set.intersection(*opened).difference(of_users) if opened else set[str]()
    return common.intersection(*(keys for keys in backups if keys & common))


def offboard_steps(snapshot: Snapshot, user: str, traces: AdminTraces | None = None) -> list[SetupStep]:
    """Return the steps for a user who leaves. mfa-kit runs none of them. `traces` is None if nothing could be read.

    Raise UsageFault for a name that IAM would refuse, and NoSuchEntity if there is no such user.
    """
    check_user(user)
    account_user = _existing(snapshot, user)
    if account_user is None and snapshot.hole(SnapshotPart.DETAILS) is None:
        raise NoSuchEntity(f"there is no user {user!r}", suggest("list the users", "status"))
    name = account_user.name if account_user else user
    return [
        *_sign_in(name, account_user),
        _remove_devices(name, account_user, backups=traces.backups if traces else 0),
        _remove_from_groups(name, account_user),
        *_admin_steps(name, traces or AdminTraces()),
        _checks(name),
    ]


def _state_of_removal(*, present: bool | None) -> StepState:
    """Return the state of a step that removes something: done if it is not present, unknown if `present` is None."""
    return _state(done=None if present is None else not present)


def _sign_in(name: str, account_user: AccountUser | None) -> Iterator[SetupStep]:
    """Yield the steps after which the user can neither sign in nor call AWS."""
    known = account_user is not None and account_user.credentials is not None
    each_key = f"$({command('aws iam list-access-keys --user-name {}', name)}"
    yield SetupStep(
        what=f"deactivate the access keys of {name}",
        why="to undo this, run it with --status Active instead of Inactive",
        state=_state_of_removal(present=bool(account_user.keys) if account_user and known else None),
        commands=(
            f"for key in {each_key} --query 'AccessKeyMetadata[].AccessKeyId' --output text); do "
            + command("aws iam update-access-key --user-name {} --status Inactive --access-key-id", name)
            + ' "$key"; done',
        ),
    )
    yield SetupStep(
        what="end all sessions, and deny everything from now on",
        why="existing sessions last up to 36 hours, console sessions up to 90 days, and new sessions can begin until "
        "the password is deleted; to undo this, delete the policy",
        state=StepState.TO_DO,
        commands=session_commands(name, time=None),
    )
    yield SetupStep(
        what="delete the password",
        why="a new password can be set later; the old one cannot be restored",
        state=_state_of_removal(present=account_user.password if account_user and known else None),
        commands=(command("aws iam delete-login-profile --user-name {}", name),),
    )


def _remove_devices(name: str, account_user: AccountUser | None, *, backups: int) -> SetupStep:
    """Return the step that removes the MFA devices, which cannot be undone.

    `backups` is the number of the user's backups. Without a device in IAM, they are of devices that are staged, or
    that another program removed.
    """
    devices = account_user.devices if account_user else ()
    complete = account_user is not None and account_user.complete
    commands: tuple[str, ...] = tuple(
        mfa_kit("revoke {} --mfa-device {} --leave-without-mfa", name, device.serial) for device in devices
    )
    if complete and backups and not devices:
        commands = (
            "# the backups may be of devices that a rollout made and did not enable; delete those devices of this user",
            "aws iam list-virtual-mfa-devices --assignment-status Unassigned",
            "# delete each of them: aws iam delete-virtual-mfa-device --serial-number ARN",
            f"# remove the backups after the user is deleted: {mfa_kit('backup prune')}",
        )
    return SetupStep(
        what="remove the MFA devices, and the backups of their secrets",
        why="only after the password is deleted: until then the device protects the sign-in. This cannot be undone",
        state=_state_of_removal(present=True if devices or backups else False if complete else None),
        commands=commands or (mfa_kit("revoke {} --leave-without-mfa", name),),
    )


def _remove_from_groups(name: str, account_user: AccountUser | None) -> SetupStep:
    """Return the step that ends group memberships."""
    groups = account_user.user.groups if account_user else ()
    return SetupStep(
        what="remove the user from all groups",
        why="so that a credential that was overlooked has no permissions; the user can be added again",
        state=_state_of_removal(present=bool(groups) if account_user else None),
        commands=tuple(
            command("aws iam remove-user-from-group --user-name {} --group-name {}", name, group) for group in groups
        )
        or (command("aws iam list-groups-for-user --user-name {}", name),),
    )


def _admin_steps(name: str, traces: AdminTraces) -> Iterator[SetupStep]:
    """Yield the steps that take back what a user who was an admin can decrypt.

    A state is unknown if nothing shows it, because the user may have keys, and names, that no record has.
    """
    yield _encrypt_again(name, traces)
    named = f"the custodians are {', '.join(traces.custodians)}" if traces.custodians else "this computer knows none"
    yield SetupStep(
        what=f"if {name} was a custodian: change the custodians, and rotate the break-glass identity",
        why=f"{named}; the old files still open the old identity, so only a new identity ends that",
        state=_state(done=False, known=name.lower() in {person.lower() for person in traces.custodians}),
        commands=(
            mfa_kit("break-glass status"),
            mfa_kit("break-glass custodians --threshold M --custodian NAME"),
            mfa_kit("break-glass rotate"),
        ),
    )
    yield SetupStep(
        what=f"if {name} was an admin: remove the keys of {name} from the configuration and from rosters",
        why="new backups would be encrypted to them too. Make plans of such rosters again",
        state=_state(done=False, known=traces.configured),
        commands=(
            mfa_kit("config show"),
            f"# in each roster: the column recipient{''.join(f', {key}' for key in traces.keys)}",
            "# if computers share the ledger: change the password of the role of this user in the database",
        ),
    )


def _encrypt_again(name: str, traces: AdminTraces) -> SetupStep:
    """Return the step that encrypts backups again. It names keys only if it is known which one is the user's."""
    why = f"no record says that a backup is encrypted to a key of {name}, so look at the recipients"
    if traces.opens:
        why = f"{count_of(traces.opens, 'backup')} can be opened with a key of {name}"
    recipients = " ".join(command("-r {}", key) for key in traces.others) or "-r RECIPIENT"
    which = (
        "each of these keys opens all of these backups already; add -r for other admins"
        if traces.others
        else "no record says which keys are those of the other admins: name each of them with -r"
    )
    return SetupStep(
        what=f"if {name} was an admin: encrypt the backups to the keys of the other admins",
        why=f"{why}; this cannot reach copies, so replace each device that backup exposed lists",
        state=_state(done=False, known=bool(traces.opens)),
        commands=(
            mfa_kit("backup recipients"),
            f"# {which}",
            f"{mfa_kit('backup rekey -i IDENTITY')} {recipients}",
            *(mfa_kit("backup exposed -r {}", key) for key in traces.keys or ("KEY",)),
        ),
    )


def _checks(name: str) -> SetupStep:
    asked = ("list-access-keys", "list-mfa-devices", "list-ssh-public-keys", "list-signing-certificates")
    more = ("list-service-specific-credentials", "list-user-policies", "list-attached-user-policies")
    return SetupStep(
        what="what to check afterwards",
        why="other credentials and policies of the user, roles that the user can assume, and the user's last API calls",
        state=StepState.TO_DO,
        commands=(
            mfa_kit("status {}", name),
            *(command("aws iam {} --user-name {}", verb, name) for verb in (*asked, *more)),
            suggest("# roles whose trust policy names the user", "audit --rule roles.trust"),
            command("aws cloudtrail lookup-events --lookup-attributes {}", f"{BY_NAME}{name}"),
            "# IAM deletes the user only after everything in these lists is removed, including the policy of step 2: "
            + command("aws iam delete-user --user-name {}", name),
        ),
    )


# Appears twice in the instructions. The recommendation is in the IAM user guide, "Centrally manage root access for
# member accounts".
REMOVAL = (
    "AWS recommends removing the credentials of root from member accounts. Root of these accounts then has no "
    "password, no access keys, no MFA devices and no way to recover them, so these accounts need no ceremony. Only "
    "the management account keeps the credentials of its root."
)


def root_ceremony(snapshot: Snapshot, *, text: str) -> Letter:
    """Return the text of the ceremony for the account of a snapshot. It contains no secret."""
    identity = recommended(snapshot.break_glass or ())
    values = {
        "account": snapshot.account,
        "lab": " (LAB, nothing here is real)" if snapshot.lab else "",
        "verdict": str(snapshot.root.verdict),
        "identity": identity.recipient if identity else "none yet",
        "recipient": Command([identity.recipient if identity else "RECIPIENT"]),
        "threshold": str(identity.threshold) if identity else "",
        "needed": _needed(identity) if identity else "",
        "removal": REMOVAL,
    }
    applies = {name: "yes" if holds else "" for name, holds in _conditions(snapshot).items()}
    return fill_template(text, values | applies)


def _needed(identity: RecoveryKeyUse) -> str:
    names = ", ".join(custodian.name for custodian in identity.custodians)
    return f"{identity.threshold} of {len(identity.custodians)}: {names}"


def _conditions(snapshot: Snapshot) -> dict[str, bool]:
    """Return which conditions of the text hold for an account."""
    central = snapshot.central_root
    place, managed = (central.place, central.manages_credentials) if central else (None, None)
    member = snapshot.has_root and place is OrganizationPlace.MEMBER
    ceremony = snapshot.has_root and not member
    return {
        "no_root": not snapshot.has_root,
        "member": member,
        "ceremony": ceremony,
        "known": ceremony and recommended(snapshot.break_glass or ()) is not None,
        "organization": ceremony and place is not OrganizationPlace.ALONE,
        "managed": managed is True,
        "unmanaged": managed is False,
        "unknown": managed is None,
    }
