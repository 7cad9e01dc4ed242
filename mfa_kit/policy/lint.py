"""Finds traps in policies about MFA: statements that do not do what their author expects.

Each trap has its own function, which looks at the statements of one policy.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.account.evaluator import MFA, PLAIN_KEYS, WORK, IamStatement, covers_action, holds, policy_flaw, statements
from mfa_kit.account.records import Entity
from mfa_kit.account.snapshot import Snapshot
from mfa_kit.core.json_text import read_json

# The actions that users need to enroll themselves.
ENROLL = ("iam:CreateVirtualMFADevice", "iam:EnableMFADevice")


class Holder(StrEnum):
    """The kind of entity that a policy is attached to."""

    GROUP = "group"
    USER = "user"
    ROLE = "role"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """A trap in a policy: a statement that does not do what its author expects.

    `statement` is the Sid or the number of the statement. `what` says what goes wrong, and `instead` what to write
    instead.
    """

    name: str
    statement: str
    what: str
    instead: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPolicy:
    """A parsed policy. `statements` has each statement with its name, which is its Sid or `statement N`.

    `on` is the kind of entity that has or will get the policy, and `partition` the account's partition. Each is None if
    unknown.
    """

    version: str | None
    statements: tuple[tuple[str, IamStatement], ...]
    on: Holder | None
    partition: str | None

    @property
    def forcing(self) -> list[tuple[str, IamStatement]]:
        """The statements that deny requests without MFA."""
        return [(name, each) for name, each in self.statements if not each.allow and _wants(each, "false")]


def _lines(statement: IamStatement) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the operator and the values of each of the statement's conditions whose key is MultiFactorAuthPresent."""
    for operator, key, values in statement.lines:
        if key.lower() == MFA.lower():
            yield operator, values


def _wants(statement: IamStatement, value: str) -> bool:
    wanted = {"false": "Null", "true": ""}[value]
    return any(
        (operator.startswith("Bool") and value in map(str.lower, values))
        or (operator == wanted and "true" in map(str.lower, values))
        for operator, values in _lines(statement)
    )


def _bool(read: ReadPolicy) -> Iterator[Trap]:
    for name, each in read.forcing:
        if any(operator == "Bool" for operator, _ in _lines(each)) and not _stops_keys(each, read):
            yield Trap(
                name="bool",
                statement=name,
                what="requests with plain access keys lack this condition key, so Bool does not deny them",
                instead='"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}',
            )


def _stops_keys(statement: IamStatement, read: ReadPolicy) -> bool:
    """Whether a statement of the policy denies, to requests with plain access keys, the actions of `statement`.

    A plain access key is one without a session, so a request that is signed with it never has MFA.
    """
    work = [action for action in WORK if covers_action(statement, action)] or statement.actions
    return any(
        holds(each, PLAIN_KEYS) is not False and all(covers_action(each, action) for action in work)
        for _, each in read.forcing
    )


def _if_exists(read: ReadPolicy) -> Iterator[Trap]:
    for name, each in read.statements:
        if each.allow and any(operator == "BoolIfExists" for operator, _ in _lines(each)) and _wants(each, "true"):
            yield Trap(
                name="if-exists",
                statement=name,
                what="requests with plain access keys lack this condition key, so BoolIfExists allows them",
                instead='"Bool": {"aws:MultiFactorAuthPresent": "true"}',
            )


def _removal(read: ReadPolicy) -> Iterator[Trap]:
    for name, each in read.forcing:
        for action in ("iam:DeleteVirtualMFADevice", "iam:DeactivateMFADevice"):
            if each.but_actions and not covers_action(each, action):
                yield Trap(
                    name="removal",
                    statement=name,
                    what=f"{action} is not denied without MFA: a stolen password is enough to remove the device",
                    instead=f"remove {action} from NotAction",
                )


def _session(read: ReadPolicy) -> Iterator[Trap]:
    for name, each in read.forcing:
        if covers_action(each, "sts:GetSessionToken"):
            yield Trap(
                name="session",
                statement=name,
                what="sts:GetSessionToken is denied without MFA: access keys can never get a session with MFA",
                instead="add sts:GetSessionToken to NotAction",
            )


def _enrolling(read: ReadPolicy) -> Iterator[Trap]:
    """Yield a trap for each statement that denies an enrollment action to users who have no device yet.

    Only actions that another statement of the policy allows are considered.
    """
    allowed = [
        action for action in ENROLL if any(each.allow and covers_action(each, action) for _, each in read.statements)
    ]
    for name, each in read.forcing:
        denied = [action for action in allowed if covers_action(each, action)]
        if denied and any(_names(one, action) for _, one in read.statements for action in denied):
            yield Trap(
                name="enrolling",
                statement=name,
                what=f"{denied[0]} is allowed but denied without MFA: users cannot create a first device",
                instead=f"add {' and '.join(denied)} to NotAction, or do not allow them",
            )


def _names(statement: IamStatement, action: str) -> bool:
    """Whether a statement allows this action by name, and not through a wildcard."""
    return statement.allow and action.lower() in map(str.lower, statement.actions)


def _password(read: ReadPolicy) -> Iterator[Trap]:
    for name, each in read.forcing:
        if covers_action(each, "iam:ChangePassword"):
            yield Trap(
                name="password",
                statement=name,
                what="iam:ChangePassword is denied without MFA: users with an initial password cannot sign in",
                instead="enroll a device before the first sign-in, or: mfa-kit policy show --first-sign-in",
            )


def _paths(read: ReadPolicy) -> Iterator[Trap]:
    for name, each in read.statements:
        own = [one for one in each.resources if one.endswith(":user/${aws:username}")]
        if own and not any(one.endswith("/*/${aws:username}") for one in each.resources):
            yield Trap(
                name="paths",
                statement=name,
                what="user/${aws:username} does not match users with a path, such as user/team/zoe",
                instead="if users have paths: mfa-kit policy show --user-paths",
            )


def _version(read: ReadPolicy) -> Iterator[Trap]:
    if read.version != "2012-10-17":
        for name, each in read.statements:
            if any("${" in one for one in (*each.resources, *each.but_resources)):
                yield Trap(
                    name="version",
                    statement=name,
                    what="without Version 2012-10-17 a policy variable is taken literally",
                    instead='"Version": "2012-10-17"',
                )


def _role(read: ReadPolicy) -> Iterator[Trap]:
    if read.on is Holder.ROLE:
        for name, _ in read.forcing:
            yield Trap(
                name="role",
                statement=name,
                what="role sessions never have MFA, so the role can no longer do anything",
                instead="require MFA in the role's trust policy",
            )


def _partition(read: ReadPolicy) -> Iterator[Trap]:
    for name, each in read.statements:
        for one in (*each.resources, *each.but_resources):
            start = one.split(":")[:2]
            if read.partition and start[0] == "arn" and start[1:] not in ([read.partition], ["*"]):
                yield Trap(
                    name="partition",
                    statement=name,
                    what=f"{one} belongs to another partition and matches nothing here",
                    instead=f"arn:{read.partition}:...",
                )


TRAPS: tuple[Callable[[ReadPolicy], Iterator[Trap]], ...] = (
    _bool,
    _if_exists,
    _removal,
    _session,
    _enrolling,
    _password,
    _paths,
    _version,
    _role,
    _partition,
)


def find_traps(document: str, *, on: Holder | None = None, partition: str | None = None) -> list[Trap]:
    """Return the traps in a policy. Raise UsageFault for text that is not a policy.

    `on` is the kind of entity that has or will get the policy, and `partition` the account's partition. None means
    unknown.
    """
    rows = statements(document)
    read = ReadPolicy(
        version=_version_of(document),
        statements=tuple((each.sid or f"statement {number}", each) for number, each in enumerate(rows, 1)),
        on=on,
        partition=partition,
    )
    return [trap for look in TRAPS for trap in look(read)]


def account_traps(snapshot: Snapshot) -> list[tuple[str, list[Trap]]]:
    """Return a pair for each policy that mentions MFA, except AWS's own policies: where it is attached, and its traps.

    If the text is not an IAM policy, the traps are a single one that says so, because such a text cannot be checked.
    """
    return [
        (
            where,
            [_grammar(flaw)] if (flaw := policy_flaw(text)) else find_traps(text, on=on, partition=snapshot.partition),
        )
        for where, on, text in policies_about_mfa(snapshot)
    ]


def _grammar(flaw: str) -> Trap:
    return Trap(
        name="grammar",
        statement="all",
        what=f"it is not an IAM policy, so it was not checked: {flaw}",
        instead="a policy that IAM accepts, such as the one that `mfa-kit policy show` prints",
    )


def _version_of(document: str) -> str | None:
    found = read_json(document)
    return str(found["Version"]) if isinstance(found, dict) and "Version" in found else None


def about_mfa(document: str) -> bool:
    """Whether a policy's text contains the condition key aws:MultiFactorAuthPresent."""
    return MFA.lower() in document.lower()


def policies_about_mfa(snapshot: Snapshot) -> Iterator[tuple[str, Holder, str]]:
    """Yield three values for each policy that mentions MFA, except AWS's own policies.

    The first value names the entity that has the policy, and the policy: `group staff, policy force-mfa`. The second
    is the kind of this entity, and the third is the text of the policy.
    """
    for holder, entities in (
        (Holder.GROUP, snapshot.groups),
        (Holder.USER, snapshot.users),
        (Holder.ROLE, snapshot.roles),
    ):
        for entity in entities:
            for name, text in _policies(entity, snapshot):
                if about_mfa(text):
                    yield f"{holder} {entity.name}, policy {name}", holder, text


def _policies(entity: Entity, snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    yield from entity.inline.items()
    for arn in entity.attached:
        if arn in snapshot.policies and ":aws:policy/" not in arn:
            yield arn, snapshot.policies[arn]
