"""Finds traps in policies about MFA: statements that do not do what their author expects.

Each kind of trap has its own function, which looks at one statement of a policy.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from mfa_kit.account.evaluator import (
    MFA,
    MFA_AGE,
    NO_MFA,
    PLAIN_KEYS,
    WITH_MFA,
    WORK,
    IamStatement,
    RequestContext,
    covers_action,
    covers_resource,
    holds,
    like,
    overlap,
    policy_flaw,
    statements,
)
from mfa_kit.account.snapshot import Entity, Snapshot
from mfa_kit.core.file_formats import read_json
from mfa_kit.core.message import suggest
from mfa_kit.core.text import few

# The actions that users need to enroll themselves.
ENROLL = ("iam:CreateVirtualMFADevice", "iam:EnableMFADevice")


class Holder(StrEnum):
    """The kind of entity that a policy is attached to. SCP: a service control policy of an organization."""

    GROUP = "group"
    USER = "user"
    ROLE = "role"
    SCP = "scp"


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
    """A parsed policy. `statements` has pairs: a name (the Sid or `statement N`) and the statement.

    `on` is the kind of entity that has or will get the policy, and `partition` is the account's partition. Both are
    None if unknown. `size` is the number of characters.
    """

    version: str | None
    statements: tuple[tuple[str, IamStatement], ...]
    on: Holder | None
    partition: str | None
    size: int = 0

    @property
    def forcing(self) -> list[tuple[str, IamStatement]]:
        """The Deny statements that apply to requests without MFA, but not to sessions with fresh MFA."""
        return [
            (name, statement)
            for name, statement in self.statements
            if not statement.allow and _reach(statement).only_without_mfa
        ]

    def allowing(self, action: str) -> list[IamStatement]:
        """Return the Allow statements that cover an action."""
        return [statement for _, statement in self.statements if statement.allow and covers_action(statement, action)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reach:
    """Whether the MFA conditions of a statement hold, or might hold, for four kinds of requests.

    `keys` is for requests with plain access keys, which have no session. `console` is for console sessions without MFA.
    `fresh` is for sessions that began with MFA one minute ago, and `old` for those that began with MFA 36 hours ago. If
    the statement has no condition about MFA, all four are true.
    """

    keys: bool
    console: bool
    fresh: bool
    old: bool

    @property
    def only_without_mfa(self) -> bool:
        """Whether the conditions hold for some requests without MFA, but not for fresh sessions with MFA."""
        return (self.keys or self.console) and not self.fresh


# The request contexts for the fields of _Reach, in their order. In the last context, MFA was 129,600 seconds (36 hours)
# ago, which is the longest duration of an STS session.
REQUESTS: tuple[RequestContext, ...] = (PLAIN_KEYS, NO_MFA, WITH_MFA, {**WITH_MFA, MFA_AGE: "129600"})


MFA_KEYS = {MFA.lower(), MFA_AGE.lower()}
# Matches the start of a condition key about MFA, also if AWS has no such key.
ABOUT_MFA = re.compile(r"aws:\w*(multifactor|mfa)", re.IGNORECASE)


def _reach(statement: IamStatement) -> _Reach:
    lines = tuple(line for line in statement.lines if line[1].lower() in MFA_KEYS)
    keys, console, fresh, old = (holds(replace(statement, lines=lines), context) is not False for context in REQUESTS)
    return _Reach(keys=keys, console=console, fresh=fresh, old=old)


def _operators(statement: IamStatement, key: str) -> list[str]:
    """Return the operators of the conditions in which a statement tests this condition key."""
    return [operator for operator, name, _ in statement.lines if name.lower() == key.lower()]


def _stopped(statement: IamStatement, read: ReadPolicy, context: RequestContext) -> bool:
    """Whether one of the policy's statements that require MFA denies the actions of `statement` in this context.

    If `statement` covers some of the sample actions in WORK, only these samples are tested.
    """
    work = [action for action in WORK if covers_action(statement, action)] or statement.actions
    return any(
        holds(deny, context) is not False
        and _is_as_wide(deny, statement)
        and all(covers_action(deny, action) for action in work)
        for _, deny in read.forcing
    )


def _is_as_wide(deny: IamStatement, statement: IamStatement) -> bool:
    """Whether `deny` has all resources of `statement`, and no condition on the principal that `statement` lacks."""
    same_resources = (deny.resources, deny.but_resources) == (statement.resources, statement.but_resources)
    others = {line for line in deny.lines if line[1].lower() not in MFA_KEYS}
    return ("*" in deny.resources or same_resources) and others <= set(statement.lines)


# What goes wrong in a statement, and what to write instead.
Advice = tuple[str, str]
DENY_WITHOUT = '"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}'
ALLOW_WITH = '"Bool": {"aws:MultiFactorAuthPresent": "true"}'


def _bool(statement: IamStatement, read: ReadPolicy) -> Iterator[Advice]:
    if not _reach(statement).keys and not _stopped(statement, read, PLAIN_KEYS):
        what = "requests with plain access keys lack aws:MultiFactorAuthPresent, so Bool does not deny them"
        yield what, DENY_WITHOUT


def _null(statement: IamStatement, read: ReadPolicy) -> Iterator[Advice]:
    if not _reach(statement).console and not _stopped(statement, read, NO_MFA):
        what = "console sessions have aws:MultiFactorAuthPresent even without MFA, so Null does not deny them"
        yield what, DENY_WITHOUT


def _inverted(statement: IamStatement, _: ReadPolicy) -> Iterator[Advice]:
    reach = _reach(statement)
    if not statement.allow and reach.fresh and not (reach.keys and reach.console):
        yield "it denies requests with MFA, and does not deny all requests without MFA", DENY_WITHOUT
    if statement.allow and (reach.keys or reach.console) and not reach.fresh:
        yield "it allows requests without MFA, but not requests with MFA", ALLOW_WITH


def _age(statement: IamStatement, read: ReadPolicy) -> Iterator[Advice]:
    reach = _reach(statement)
    denies_only_old = not statement.allow and reach.old and not (reach.fresh or reach.keys)
    if denies_only_old and not _stopped(statement, read, PLAIN_KEYS):
        what = "requests without MFA lack aws:MultiFactorAuthAge, so this operator does not deny them"
        yield what, '"NumericGreaterThanIfExists": {"aws:MultiFactorAuthAge": "3600"}'


def _if_exists(statement: IamStatement, _: ReadPolicy) -> Iterator[Advice]:
    reach = _reach(statement)
    operators = [*_operators(statement, MFA), *_operators(statement, MFA_AGE)]
    if statement.allow and operators and reach.fresh and (reach.keys or reach.console):
        who = "requests with plain access keys" if reach.keys else "console sessions without MFA"
        yield f"{operators[0]} allows {who} too", ALLOW_WITH


def _operator(statement: IamStatement, _: ReadPolicy) -> Iterator[Advice]:
    for operator in _operators(statement, MFA):
        if operator not in {"Bool", "BoolIfExists", "Null"}:
            what = f"{operator} is the wrong operator for a condition key with a single Boolean value"
            yield what, "Bool to allow requests with MFA, or BoolIfExists to deny requests without MFA"


# Statements that name resources are evaluated for an example user, zoe. ACCOUNT is the start of all IAM ARNs in
# zoe's account, and OF_SOMEBODY is the context of zoe's requests.
ACCOUNT = "arn:aws:iam::123456789012:"
OF_SOMEBODY: RequestContext = {"aws:username": "zoe"}
# The actions whose resource is a virtual device. For the others, it is the user (Service Authorization Reference).
ON_DEVICES = {"iam:CreateVirtualMFADevice", "iam:DeleteVirtualMFADevice"}
# Matches the start of an IAM ARN, up to the account. mfa-kit assumes that a policy names only the user's own account.
OWN_ACCOUNT = re.compile(r"arn:[^:]*:iam::[^:]*:")


def _covers(statement: IamStatement, action: str) -> bool:
    """Whether a statement covers, or might cover, an action that zoe takes on the user zoe or on zoe's new device.

    sts:GetSessionToken has no resource, so it is tested with the resource `*`.
    """
    own = f"{ACCOUNT}{'mfa' if action in ON_DEVICES else 'user'}/zoe"
    resource = own if action.startswith("iam:") else "*"
    covered = covers_resource(_in_account(statement), resource, OF_SOMEBODY)
    return covers_action(statement, action) and covered is not False


def _in_account(statement: IamStatement) -> IamStatement:
    """Return a statement with zoe's account in its IAM resources."""
    return replace(
        statement,
        resources=tuple(OWN_ACCOUNT.sub(ACCOUNT, arn) for arn in statement.resources),
        but_resources=tuple(OWN_ACCOUNT.sub(ACCOUNT, arn) for arn in statement.but_resources),
    )


def _removal(statement: IamStatement, _: ReadPolicy) -> Iterator[Advice]:
    for action in ("iam:DeleteVirtualMFADevice", "iam:DeactivateMFADevice"):
        if (statement.but_actions or statement.but_resources) and not _covers(statement, action):
            what = f"{action} is not denied without MFA: a stolen password is enough to remove the device"
            listed = not covers_action(statement, action)
            yield what, f"remove {action} from NotAction" if listed else 'use "Resource": "*"'


# What somebody with a stolen password or stolen access keys can do if one of the actions is in NotAction.
EXEMPT: Mapping[str, tuple[str, ...]] = {
    "stolen access keys reach every role": ("sts:AssumeRole",),
    "a stolen password or access key is enough to remove this policy": (
        *(f"iam:{verb}{kind}Policy" for kind in ("User", "Group") for verb in ("Put", "Delete", "Attach", "Detach")),
        "iam:CreatePolicyVersion",
        "iam:SetDefaultPolicyVersion",
        "iam:RemoveUserFromGroup",
    ),
    "a stolen access key is enough to set a password, or a stolen password to create access keys": (
        "iam:CreateLoginProfile",
        "iam:UpdateLoginProfile",
        "iam:CreateAccessKey",
    ),
}


def _exempt(statement: IamStatement, read: ReadPolicy) -> Iterator[Advice]:
    for outcome, actions in EXEMPT.items():
        exempt = [action for action in actions if not any(covers_action(deny, action) for _, deny in read.forcing)]
        if statement.but_actions and exempt:
            verb = "is" if len(exempt) == 1 else "are"
            yield f"{few(exempt)} {verb} not denied without MFA: {outcome}", f"remove {few(exempt)} from NotAction"


def _session(statement: IamStatement, _: ReadPolicy) -> Iterator[Advice]:
    if _covers(statement, "sts:GetSessionToken"):
        what = "sts:GetSessionToken is denied without MFA: access keys can never get a session with MFA"
        yield what, "add sts:GetSessionToken to NotAction"


def _enrolling(statement: IamStatement, read: ReadPolicy) -> Iterator[Advice]:
    """Yield a trap if the statement denies an enrollment action to users who have no device yet.

    Only actions that the policy itself allows are considered. If it allows them only with a general pattern, such as
    `iam:*`, there is no trap, because the author may not expect users to enroll themselves. An Allow that applies only
    to requests with MFA is a trap too.
    """
    if statement.allow:
        yield from _allowed_with_mfa(statement, read)
    forces = any(statement is row for _, row in read.forcing)
    denied = [action for action in ENROLL if read.allowing(action) and _covers(statement, action)]
    if forces and any(_names(row, action) for action in denied for row in read.allowing(action)):
        what = f"{denied[0]} is allowed but denied without MFA: users cannot enroll a first device"
        yield what, f"add {' and '.join(denied)} to NotAction, or do not allow them"


def _allowed_with_mfa(statement: IamStatement, read: ReadPolicy) -> Iterator[Advice]:
    useless = [
        action
        for action in (*ENROLL, "iam:ListMFADevices")
        if _names(statement, action) and not any(_reach(row).console for row in read.allowing(action))
    ]
    if useless:
        what = f"{few(useless)} allowed only with MFA: users cannot enroll a first device"
        yield what, "allow this without a condition about MFA"


def _console(statement: IamStatement, _: ReadPolicy) -> Iterator[Advice]:
    denied = [
        action for action in ("iam:ListMFADevices", "iam:ListVirtualMFADevices") if covers_action(statement, action)
    ]
    if statement.but_actions and denied and not any(covers_action(statement, action) for action in ENROLL):
        what = f"users can enroll without MFA, but not call {' and '.join(denied)}: the console's page does not work"
        yield what, f"add {' and '.join(denied)} to NotAction"


def _device_names(statement: IamStatement, read: ReadPolicy) -> Iterator[Advice]:
    create = ENROLL[0]
    rows = [_in_account(row) for row in read.allowing(create)]
    own, other = (
        any(covers_resource(row, f"{ACCOUNT}mfa/{name}", OF_SOMEBODY) is not False for row in rows)
        for name in ("zoe", "zoe-2")
    )
    if _names(statement, create) and own and not other:
        what = f"{create} is allowed only with the user's name: a second device, or another name, is denied"
        yield what, '"Resource": "arn:aws:iam::*:mfa/*"'


def _resource(statement: IamStatement, read: ReadPolicy) -> Iterator[Advice]:
    for action in (*ENROLL, "iam:DeactivateMFADevice", "iam:DeleteVirtualMFADevice", "iam:ResyncMFADevice"):
        kind = "mfa" if action in ON_DEVICES else "user"
        rows = map(_in_account, read.allowing(action))
        reached = any(
            row.but_resources or any(overlap(resource, f"{ACCOUNT}{kind}/*") is not None for resource in row.resources)
            for row in rows
        )
        if _names(statement, action) and not reached:
            resources = few([arn.split(":", 5)[-1] for arn in statement.resources])
            what = f"{action} on {resources} allows nothing: its resource is {kind}/NAME"
            yield what, f'"Resource": "arn:aws:iam::*:{kind}/{"*" if kind == "mfa" else "${aws:username}"}"'


def _names(statement: IamStatement, action: str) -> bool:
    """Whether a statement allows this action by name, or by a pattern that contains "MFA", such as `iam:*MFADevice`."""
    return statement.allow and any(
        "mfa" in pattern.lower() and like(pattern.lower(), action.lower()) for pattern in statement.actions
    )


def _password(statement: IamStatement, _: ReadPolicy) -> Iterator[Advice]:
    if _covers(statement, "iam:ChangePassword"):
        what = "iam:ChangePassword is denied without MFA: users with an initial password cannot sign in"
        yield what, suggest("enroll a device before the first sign-in, or", "policy show --first-sign-in")


def _paths(statement: IamStatement, _: ReadPolicy) -> Iterator[Advice]:
    own = any(resource.endswith(":user/${aws:username}") for resource in statement.resources)
    if own and not any(resource.endswith("/*/${aws:username}") for resource in statement.resources):
        what = "user/${aws:username} does not match users with a path, such as user/team/zoe"
        yield what, suggest("if users have paths", "policy show --user-paths")


def _version(statement: IamStatement, read: ReadPolicy) -> Iterator[Advice]:
    resources = (*statement.resources, *statement.but_resources)
    if read.version != "2012-10-17" and any("${" in resource for resource in resources):
        yield "without Version 2012-10-17 a policy variable is taken literally", '"Version": "2012-10-17"'


def _role(statement: IamStatement, read: ReadPolicy) -> Iterator[Advice]:
    if read.on is Holder.ROLE:
        denies_all = all(covers_action(statement, action) for action in WORK) and "*" in statement.resources
        lost = "do anything" if denies_all or not statement.actions else f"use {few(statement.actions)}"
        yield (
            f"role sessions never have MFA, so the role can no longer {lost}",
            "require MFA in the role's trust policy",
        )


def _key(statement: IamStatement, _: ReadPolicy) -> Iterator[Advice]:
    for line in statement.lines:
        if ABOUT_MFA.match(line[1]) and line[1].lower() not in MFA_KEYS:
            applies = holds(replace(statement, lines=(line,)), {line[1]: None})
            reach = "all requests, also with MFA" if applies else "no request"
            yield f"there is no condition key {line[1]}, so the statement applies to {reach}", f"{MFA} or {MFA_AGE}"


def _partition(statement: IamStatement, read: ReadPolicy) -> Iterator[Advice]:
    for resource in (*statement.resources, *statement.but_resources):
        start = resource.split(":")[:2]
        if read.partition and start[0] == "arn" and start[1:] not in ([read.partition], ["*"]):
            what = f"{resource} belongs to another partition and matches nothing here"
            yield what, f"arn:{read.partition}:..."


# The traps of service control policies (SCPs). They are evaluated for the user zoe, for a role, and for a root session.
MOST_CHARACTERS = 10_240
IN_ACCOUNT: RequestContext = {"aws:ViaAWSService": "false"}
USER: RequestContext = {
    **OF_SOMEBODY,
    **IN_ACCOUNT,
    "aws:PrincipalArn": f"{ACCOUNT}user/zoe",
    "aws:PrincipalType": "User",
}
ROLE: RequestContext = {
    **IN_ACCOUNT,
    "aws:PrincipalArn": f"{ACCOUNT}role/zoe",
    "aws:PrincipalType": "AssumedRole",
    "aws:username": None,
}
ROOT: RequestContext = {**ROLE, "aws:PrincipalArn": f"{ACCOUNT}root", "aws:PrincipalType": "Account"}
# The calls about root that mfa-kit makes in sessions of AssumeRoot.
ROOT_CALLS = ("iam:GetAccountSummary", "iam:ListMFADevices")
ONLY_USERS = '"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}'
MULTIVALUED = {"aws:principalorgpaths", "aws:tagkeys", "aws:calledvia"}


def _applies(statement: IamStatement, context: RequestContext) -> bool:
    """Whether a Deny holds, or might hold, for requests without MFA: with the key false, or without the key."""
    without = ({MFA: value, MFA_AGE: None} for value in ("false", None))
    return not statement.allow and any(holds(statement, {**context, **keys}) is not False for keys in without)


def _roles(statement: IamStatement, _: ReadPolicy) -> Iterator[Advice]:
    if _applies(statement, ROLE):
        what = "sessions of roles never have MFA, so it stops Identity Center, CI, StackSets and the roles of mfa-kit"
        yield what, ONLY_USERS


def _services(statement: IamStatement, _: ReadPolicy) -> Iterator[Advice]:
    if _applies(statement, {**USER, "aws:ViaAWSService": "true"}):
        what = "requests that an AWS service sends with a user's credentials have no MFA, so they are denied"
        yield what, '"Bool": {"aws:ViaAWSService": "false"}'


def _root_sessions(statement: IamStatement, _: ReadPolicy) -> Iterator[Advice]:
    denied = [action for action in ROOT_CALLS if covers_action(statement, action)]
    if denied and _applies(statement, {**ROOT, "aws:AssumedRoot": "true"}):
        what = f"{few(denied)} denied in sessions of AssumeRoot, so mfa-kit cannot audit root"
        yield what, f'"Null": {{"aws:AssumedRoot": "true"}}, or {ONLY_USERS}'


def _blocked(statement: IamStatement, read: ReadPolicy) -> Iterator[Advice]:
    """Yield a trap if a Deny covers enrolling, also if its condition is about the Region: IAM is in us-east-1."""
    denied = [action for action in ENROLL if _covers(statement, action)]
    if denied and _applies(statement, {**USER, "aws:RequestedRegion": "us-east-1"}):
        when = " without MFA" if any(statement is row for _, row in read.forcing) else ""
        yield f"{few(denied)} denied{when}: users cannot enroll a first device", f"exempt {few(denied)}"


def _allow_only(statement: IamStatement, _: ReadPolicy) -> Iterator[Advice]:
    if statement.allow and any(line[1].lower() in MFA_KEYS for line in statement.lines):
        what = (
            "an SCP grants nothing: beside FullAWSAccess this Allow changes nothing, and instead of it, it stops all "
            "roles, and users who have to enroll"
        )
        yield what, f"a Deny with {DENY_WITHOUT}"


def _scp_grammar(statement: IamStatement, read: ReadPolicy) -> Iterator[Advice]:
    if statement.principals:
        yield "an SCP has no Principal, so Organizations refuses it", "a condition on aws:PrincipalArn"
    if statement is read.statements[0][1]:
        if read.version != "2012-10-17":
            yield "Organizations accepts only Version 2012-10-17", '"Version": "2012-10-17"'
        if read.size > MOST_CHARACTERS:
            yield f"it has {read.size} characters, and an SCP may have {MOST_CHARACTERS}", "omit spaces, or split it"


def _session_arns(statement: IamStatement, _: ReadPolicy) -> Iterator[Advice]:
    values_of = ((key.lower(), values) for _, key, values in statement.lines)
    for key, values in values_of:
        if key == "aws:principalarn" and any(":assumed-role/" in value for value in values):
            what = "aws:PrincipalArn is the ARN of the role, not of its session, so this value matches nothing"
            yield what, "arn:aws:iam::*:role/NAME"


def _multivalued(statement: IamStatement, _: ReadPolicy) -> Iterator[Advice]:
    for operator, key, _values in statement.lines:
        if key.lower() in MULTIVALUED and ":" not in operator and operator != "Null":
            yield f"{key} has several values, and {operator} compares one", f"ForAnyValue:{operator}"


class TrapKind(NamedTuple):
    """The function that looks for a kind of trap in a statement. With `forcing`, it gets only `ReadPolicy.forcing`.

    With `control`, it looks only at service control policies.
    """

    look: Callable[[IamStatement, ReadPolicy], Iterator[Advice]]
    forcing: bool = False
    control: bool = False


TRAPS: Mapping[str, TrapKind] = {
    "bool": TrapKind(_bool, forcing=True),
    "null": TrapKind(_null, forcing=True),
    "inverted": TrapKind(_inverted),
    "age": TrapKind(_age),
    "if-exists": TrapKind(_if_exists),
    "operator": TrapKind(_operator),
    "removal": TrapKind(_removal, forcing=True),
    "session": TrapKind(_session, forcing=True),
    "exempt": TrapKind(_exempt, forcing=True),
    "enrolling": TrapKind(_enrolling),
    "console": TrapKind(_console, forcing=True),
    "device-names": TrapKind(_device_names),
    "resource": TrapKind(_resource),
    "key": TrapKind(_key),
    "password": TrapKind(_password, forcing=True),
    "paths": TrapKind(_paths),
    "version": TrapKind(_version),
    "role": TrapKind(_role, forcing=True),
    "partition": TrapKind(_partition),
    "roles": TrapKind(_roles, forcing=True, control=True),
    "services": TrapKind(_services, forcing=True, control=True),
    "root-sessions": TrapKind(_root_sessions, control=True),
    "blocked": TrapKind(_blocked, control=True),
    "allow": TrapKind(_allow_only, control=True),
    "scp-grammar": TrapKind(_scp_grammar, control=True),
    "session-arns": TrapKind(_session_arns, control=True),
    "multivalued": TrapKind(_multivalued, control=True),
}


def denying(document: str, action: str) -> tuple[list[str], list[str]]:
    """Return the names of the Deny statements that cover an action, and of those that apply only without MFA.

    Raise UsageFault for text that is not a policy.
    """
    read = _read(document, on=None, partition=None)
    covering = [(name, row) for name, row in read.statements if not row.allow and covers_action(row, action)]
    forcing = [row for _, row in read.forcing]
    return [name for name, _ in covering], [name for name, row in covering if row in forcing]


def find_traps(document: str, *, on: Holder | None = None, partition: str | None = None) -> list[Trap]:
    """Return the traps in a policy. Raise UsageFault for text that is not a policy.

    `on` is the kind of entity that has or will get the policy, and `partition` is the account's partition. None means
    unknown.
    """
    read = _read(document, on=on, partition=partition)
    return [
        Trap(name=name, statement=statement_name, what=what, instead=instead)
        for name, kind in TRAPS.items()
        if not kind.control or on is Holder.SCP
        for statement_name, statement in (read.forcing if kind.forcing else read.statements)
        for what, instead in kind.look(statement, read)
    ]


def _read(document: str, *, on: Holder | None, partition: str | None) -> ReadPolicy:
    rows = statements(document)
    return ReadPolicy(
        version=_version_of(document),
        statements=tuple((row.sid or f"statement {number}", row) for number, row in enumerate(rows, 1)),
        on=on,
        partition=partition,
        size=len(document),
    )


def account_traps(snapshot: Snapshot) -> list[tuple[str, list[Trap]]]:
    """Return a pair for each policy that mentions MFA, except AWS's own policies: where it is attached, and its traps.

    If the text of a policy is not an IAM policy, it cannot be checked. Its only trap then says so.
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
    policy = read_json(document)
    return str(policy["Version"]) if isinstance(policy, dict) and "Version" in policy else None


def about_mfa(document: str) -> bool:
    """Whether a policy's text contains a condition key about MFA, in any case, also one that AWS does not have."""
    return ABOUT_MFA.search(document) is not None


def policies_about_mfa(snapshot: Snapshot) -> Iterator[tuple[str, Holder, str]]:
    """Yield three values for each policy that mentions MFA, except AWS's own policies.

    The first value names the entity that has the policy, and the policy: `group staff, policy force-mfa`. The second
    value is the kind of the entity, and the third value is the text of the policy.
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
