"""Reports which users would lose access if a policy were attached today, based on a snapshot of the account."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import TYPE_CHECKING

from mfa_kit.account.evaluator import (
    NO_MFA,
    PLAIN_KEYS,
    WITH_MFA,
    WORK,
    Decision,
    EntityPolicies,
    RequestContext,
    actions_named,
    denies_all_work,
    evaluate,
    filled_text,
    holds,
    overlap,
    patterns_named,
    statements,
)
from mfa_kit.account.snapshot import Snapshot, SnapshotPart
from mfa_kit.account.users import AccountUser, account_users
from mfa_kit.core.errors import MfaKitError, UsageFault
from mfa_kit.core.message import Message, command, mfa_kit
from mfa_kit.core.models import DeviceType
from mfa_kit.core.text import few

if TYPE_CHECKING:
    from mfa_kit.account.reading import AccountSource

# An action and a resource.
ActionOnResource = tuple[str, str]
CODES = {DeviceType.VIRTUAL, DeviceType.HARDWARE_TOTP}
WAYS: Mapping[str, RequestContext] = {
    "access keys": PLAIN_KEYS,
    "console without MFA": NO_MFA,
    "session with MFA": WITH_MFA,
}


class AccessState(StrEnum):
    """The access that a user would have, worst first.

    The first three values count as lockouts. UNKNOWN is one of them, so that a user whose access is unknown does not
    pass the check.
    """

    LOCKED = "locked out"
    ENROLLS = "locked out until they enroll"
    UNKNOWN = "unknown"
    CHANGES = "has to change how they work"
    RISKS = "one lost device from a lockout"
    FINE = "fine"
    NO_WAY = "has no access today"


NOTHING = "the policies deny all work even with MFA"
JUDGED = "what the policies deny depends on conditions that cannot be evaluated"
UNJUDGED = "what the policies deny is unknown: "
MEND = "change the policy so that it allows some work, or take this user out of the group"
SESSION = "exempt sts:GetSessionToken from the Deny statement, as the policy of `mfa-kit policy show` does"
ROLE = "give the program a role, or take this user out of the group"
UNREAD = "the MFA devices of this user could not be read"
SHUT = {AccessState.LOCKED, AccessState.ENROLLS, AccessState.UNKNOWN}


@dataclass(frozen=True, slots=True, kw_only=True)
class UserAccess:
    """The access that a user would have with a console password or with access keys, and what to do first.

    `way` is `console` or `access keys`, `any` if the user's credentials are unknown, or `none` if the user has none.
    `why` is the reason for `state`. `first` is a command or an instruction that prevents the lockout; "" if there is
    none. `already` is true if today's policies already lock the user out.
    """

    user: str
    way: str
    state: AccessState
    why: str
    first: str = ""
    already: bool = False

    @property
    def shut(self) -> bool:
        """Whether the user would or might be locked out."""
        return self.state in SHUT


def users_in(snapshot: Snapshot, group: str | None) -> list[AccountUser]:
    """Return the users in a group, or all users if `group` is None.

    Raise UsageFault if there is no such group, or if the groups could not be read.
    """
    if group is not None and not any(entity.name == group for entity in snapshot.groups):
        if hole := snapshot.hole(SnapshotPart.DETAILS):
            raise UsageFault(
                f"the groups could not be read: {hole.why}",
                "ask an administrator for iam:GetAccountAuthorizationDetails",
            )
        raise UsageFault(f"there is no group {group!r}", Message("list them", command("aws iam list-groups")))
    return [user for user in account_users(snapshot) if group is None or group in user.user.groups]


def may_have_to_change(user: AccountUser) -> bool:
    """Whether a user may have to choose a new password at the next sign-in.

    IAM requires a new password only if the current password was set after the last sign-in with a password.
    """
    row = user.credentials
    return bool(
        row and row.password and (row.password_used is None or (row.password_changed or 0.0) > row.password_used)
    )


def access_with(snapshot: Snapshot, document: str, *, group: str | None = None) -> list[UserAccess]:
    """Return the access that each user in a group would have if a policy were attached to them, worst first.

    If `group` is None, all users are included. A user with a password and access keys is listed twice.
    """
    accesses = [access for user in users_in(snapshot, group) for access in _access(user, (document,), snapshot)]
    order = list(AccessState)
    return sorted(accesses, key=lambda access: (order.index(access.state), access.user))


def _access(user: AccountUser, more: tuple[str, ...], snapshot: Snapshot) -> list[UserAccess]:
    if user.credentials is None:
        why = "the credential report does not list this user or could not be read"
        return [UserAccess(user=user.name, way="any", state=AccessState.UNKNOWN, why=why)]
    accesses = []
    if user.password:
        accesses.append(_console(user, more, snapshot))
    if user.keys:
        accesses.append(_keys(user, more))
    if not accesses:
        why = "neither a console password nor an active access key"
        accesses.append(UserAccess(user=user.name, way="none", state=AccessState.NO_WAY, why=why))
    return accesses


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """The effect that new policies would have on the actions of a user.

    `would` says whether today's and the new policies together would deny all work (all actions except those for the
    user's own sign-in), or None if that is unknown. `does` says whether today's policies alone deny all work. `lost`
    lists, as text, the actions that the new policies would or might take away.
    """

    would: bool | None
    does: bool
    lost: str


def _work(user: AccountUser, more: tuple[str, ...], context: RequestContext) -> _Work:
    policies, request = user.policies, {**user.about, **context}
    would = denies_all_work((*policies.documents, *more), request, boundary=policies.boundary)
    lost: list[ActionOnResource] = []
    if would is False:
        would, lost = _lost(policies, more, request)
    spared = _spared(policies, more, request) if would is not False else []
    if spared:
        would, lost = False, list(_denied(policies, more, request))
    return _Work(
        would=None if policies.unread and not would else would,
        does=denies_all_work(policies.documents, request, boundary=policies.boundary) is True,
        lost=few([action if resource == "*" else f"{action} on {resource}" for action, resource in lost])
        + (f", except {few(spared)}" if lost and spared else ""),
    )


def _spared(policies: EntityPolicies, more: tuple[str, ...], request: RequestContext) -> list[str]:
    """Return patterns of the work that the user can still do, because a Deny lists its actions in NotAction.

    Call this when all the actions that were tried are or may be denied. Actions in NotAction count as work, except
    actions of IAM and STS, because users need these to enroll. The actions in WORK count too: to an administrator,
    `iam:*` is work.
    """
    documents = (*policies.documents, *more)
    denies = (statement for text in documents for statement in statements(text) if not statement.allow)
    listed = [action for statement in denies for action in statement.but_actions]
    listed = [action for action in listed if not action.lower().startswith(("iam:", "sts:"))]
    allowed = _with_values(
        (pair for text in policies.documents for pair in patterns_named(text, allow=True, complete=True)), request
    )
    kept = {
        common: other
        for (action, resource), other in product(allowed, (*listed, *WORK))
        if (common := overlap(action, other, ignore_case=True))
        and policies.decide(common, resource, request, more=more) is Decision.ALLOW
    }
    return [common for common, other in kept.items() if other in listed] or list(kept)


def _lost(
    policies: EntityPolicies, more: tuple[str, ...], request: RequestContext
) -> tuple[bool | None, list[ActionOnResource]]:
    """Return a pair: whether the policies in `more` would deny all actions that are allowed now, and what they deny.

    The first value is True if no action would stay allowed, False if at least one would, and None if that is unknown.
    The second value lists the actions that the policies would or might deny, each with its resource.
    """
    denies = [statement for text in more for statement in statements(text) if not statement.allow]
    if all(holds(statement, request) is False for statement in denies):
        return False, []
    lost = _denied(policies, more, request)
    remaining_pairs = (pair for pair in _allowed(policies, request) if pair not in lost)
    if not lost or any(_may(policies, pair, request) for pair in remaining_pairs):
        return False, list(lost)
    return (True if set(lost.values()) == {Decision.EXPLICIT} else None), list(lost)


def _allowed(policies: EntityPolicies, request: RequestContext) -> list[ActionOnResource]:
    """Return examples of allowed actions, each with its resource: one action for each service, resource and policy.

    Policy variables in the resources are replaced.
    """
    pairs = [pair for text in policies.documents for pair in actions_named(text, allow=True, complete=True)]
    return list(_with_values(pairs, request))


def _with_values(pairs: Iterable[ActionOnResource], request: RequestContext) -> Iterator[ActionOnResource]:
    """Yield the pairs with their policy variables replaced. Skip pairs with a variable whose value is unknown."""
    for action, resource in pairs:
        if (filled := filled_text(resource, request)) is not None:
            yield action, filled


def _denied(
    policies: EntityPolicies, more: tuple[str, ...], request: RequestContext
) -> dict[ActionOnResource, Decision]:
    """Return the actions that are or may be allowed now, and that the policies in `more` would or might deny.

    The keys are pairs of an action and a resource. The values are the decisions of `more`: EXPLICIT or UNKNOWN.
    """
    named = [pair for text in more for pair in actions_named(text, allow=False, complete=True)]
    others = _with_values(named, request)
    pairs = dict.fromkeys((*_allowed(policies, request), *others, *_overlaps(policies, more, request)))
    decisions = {pair: evaluate(more, *pair, request) for pair in pairs}
    return {
        pair: decision
        for pair, decision in decisions.items()
        if decision in {Decision.EXPLICIT, Decision.UNKNOWN} and _may(policies, pair, request)
    }


def _overlaps(policies: EntityPolicies, more: tuple[str, ...], request: RequestContext) -> Iterator[ActionOnResource]:
    """Yield an example for each pair of an allowed and a denied pattern that overlap only in part.

    For example, the allowed `s3:Get*` and the denied `s3:*Object` both match `s3:GetObject`.
    """
    named = [pair for text in more for pair in patterns_named(text, allow=False, complete=True)]
    denied = list(_with_values(named, request))
    pairs = [pair for text in policies.documents for pair in patterns_named(text, allow=True, complete=True)]
    for action, resource in _with_values(pairs, request):
        for other_action, other_resource in denied:
            act, on = overlap(action, other_action, ignore_case=True), overlap(resource, other_resource)
            if act and on and (act, on) not in {(action, resource), (other_action, other_resource)}:
                yield act, on


def _may(policies: EntityPolicies, pair: ActionOnResource, request: RequestContext) -> bool:
    return policies.decide(*pair, request) in {Decision.ALLOW, Decision.UNKNOWN}


# A condition, and the state and reason that apply if it is true. The first true condition decides.
_Case = tuple[bool, AccessState, str]


def _first_case(
    user: AccountUser, access_kind: str, cases: Iterable[_Case], *, first: str, already: bool
) -> UserAccess:
    state, why = next((state, why) for case, state, why in cases if case)
    shut = state in SHUT
    return UserAccess(
        user=user.name, way=access_kind, state=state, why=why, first=first if shut else "", already=already and shut
    )


def _console(user: AccountUser, more: tuple[str, ...], snapshot: Snapshot) -> UserAccess:
    usable = user.types - {DeviceType.SMS}
    with_mfa, bare = _work(user, more, WITH_MFA), _work(user, more, NO_MFA)
    spared = user.mfa is False and bare.would is False
    cases: tuple[_Case, ...] = (
        (with_mfa.would is True and not spared, AccessState.LOCKED, NOTHING),
        (None in {bare.would, with_mfa.would} and not spared, AccessState.UNKNOWN, _unjudged(user)),
        (not bare.would and bool(with_mfa.lost), AccessState.CHANGES, f"denied even with MFA: {with_mfa.lost}"),
        (not bare.would and bool(bare.lost) and not usable, AccessState.CHANGES, f"denied without MFA: {bare.lost}"),
        (not bare.would and not bare.lost, AccessState.FINE, "no policy requires MFA for this sign-in"),
        (not bare.would, AccessState.FINE, f"signs in with MFA: {', '.join(sorted(usable))}"),
        (len(user.devices) == 1 and bool(usable), AccessState.RISKS, _single(user)),
        (bool(usable), AccessState.FINE, f"signs in with MFA: {', '.join(sorted(usable))}"),
        *_without_device(user, more, snapshot),
    )
    return _first_case(user, "console", cases, first=MEND if with_mfa.would else _enroll(user), already=bare.does)


def _without_device(user: AccountUser, more: tuple[str, ...], snapshot: Snapshot) -> tuple[_Case, ...]:
    """Return the cases of a user whose policies require MFA, but who has no device that AWS accepts."""
    reason = "only a phone number, which AWS no longer accepts" if user.devices else "no MFA device"
    change = _changes_first(user, snapshot)
    denied = _judged(user, more, "iam:ChangePassword", user.user.arn) is Decision.EXPLICIT
    return (
        (user.mfa is not False and not user.devices, AccessState.UNKNOWN, UNREAD),
        (change is None, AccessState.UNKNOWN, f"{reason}; whether the password must be changed could not be read"),
        (
            bool(change) and denied,
            AccessState.LOCKED,
            f"{reason}; the password must be changed, which is denied without MFA",
        ),
        (_may_enroll(user, more), AccessState.ENROLLS, f"{reason}; can only sign in and enroll a device"),
        (
            bool(user.keys) and _may_enroll(user, more, PLAIN_KEYS),
            AccessState.CHANGES,
            f"{reason}, but can enroll one with the access keys",
        ),
        (True, AccessState.LOCKED, f"{reason}, and cannot enroll a device"),
    )


def _unjudged(user: AccountUser) -> str:
    """Return the reason why the effect of the policies on a user is unknown."""
    return f"{UNJUDGED}{user.policies.why}" if user.policies.why else JUDGED


def _single(user: AccountUser) -> str:
    serials = ", ".join(device.serial for device in user.devices)
    return f"has one device, {serials}" if user.complete else f"has {serials}; to look up other devices, add --group"


def _enroll(user: AccountUser) -> str:
    """Return the command that enrolls a device for a user.

    The command has --add if IAM already lists a device, even one that IAM no longer accepts, such as a phone number.
    """
    return mfa_kit(f"enroll {{}} --with virtual{' --add' if user.devices else ''}", user.name)


def _judged(
    user: AccountUser, more: tuple[str, ...], action: str, on: str, context: RequestContext = NO_MFA
) -> Decision:
    return user.policies.decide(action, on, {**user.about, **context}, more=more)


def _changes_first(user: AccountUser, snapshot: Snapshot) -> bool | None:
    """Whether the user has to choose a new password at the next sign-in, or None if that is unknown."""
    row = user.credentials
    if row and row.password_expires is not None and row.password_expires <= snapshot.at:
        return True
    return snapshot.must_change.get(user.name) if may_have_to_change(user) else False


def _may_enroll(user: AccountUser, more: tuple[str, ...], context: RequestContext = NO_MFA) -> bool:
    """Whether a user without MFA may create and enable a first device that has the user's name.

    `context` has the condition keys of a console session or of plain access keys.
    """
    start = user.user.arn.partition(":user/")[0]
    own = (("iam:CreateVirtualMFADevice", f"{start}:mfa/{user.name}"), ("iam:EnableMFADevice", user.user.arn))
    return all(_judged(user, more, action, on, context) is Decision.ALLOW for action, on in own)


def _session_or_device(user: AccountUser, session: Decision) -> str:
    return SESSION if session is Decision.EXPLICIT else _enroll(user)


def _keys(user: AccountUser, more: tuple[str, ...]) -> UserAccess:
    with_mfa, bare = _work(user, more, WITH_MFA), _work(user, more, PLAIN_KEYS)
    session = _judged(user, more, "sts:GetSessionToken", "*", PLAIN_KEYS)
    codes = bool(user.types & CODES)
    unused = "" if any(key.used for key in user.keys) else "; the keys were never used"
    is_program = not user.password and not codes
    cases: tuple[_Case, ...] = (
        (with_mfa.would is True and bare.would is not False, AccessState.LOCKED, f"{NOTHING}{unused}"),
        (bare.would is None, AccessState.UNKNOWN, _unjudged(user)),
        (not bare.would and bool(with_mfa.lost), AccessState.CHANGES, f"denied even with MFA: {with_mfa.lost}{unused}"),
        (
            not bare.would and bool(bare.lost),
            AccessState.CHANGES,
            f"denied to access keys without MFA: {bare.lost}{unused}",
        ),
        (not bare.would, AccessState.FINE, "no policy requires MFA for these keys"),
        (is_program, AccessState.LOCKED, f"a service user: a program cannot enter codes{unused}"),
        (
            session is Decision.EXPLICIT,
            AccessState.LOCKED,
            f"sts:GetSessionToken is denied, so the keys cannot get a session with MFA{unused}",
        ),
        (with_mfa.would is None, AccessState.UNKNOWN, _unjudged(user)),
        (
            codes,
            AccessState.CHANGES,
            f"the keys work only in sessions with MFA, so scripts that use them directly stop working{unused}",
        ),
        (
            DeviceType.FIDO2 in user.types,
            AccessState.LOCKED,
            f"the only MFA devices are security keys, but STS accepts only codes{unused}",
        ),
        (user.mfa is not False and not user.devices, AccessState.UNKNOWN, UNREAD),
        (True, AccessState.LOCKED, f"no device that shows codes{unused}"),
    )
    first = ROLE if is_program else _session_or_device(user, session)
    return _first_case(user, "access keys", cases, first=MEND if with_mfa.would else first, already=bare.does)


def administrators_left(accesses: Sequence[UserAccess], snapshot: Snapshot) -> list[str]:
    """Return the names of the administrators who would still have access, and could help the other users.

    Administrators whose access is not in `accesses` are included if they have a password or an active access key.
    """
    judged = {access.user for access in accesses}
    open_to = {access.user for access in accesses if not access.shut and access.state is not AccessState.NO_WAY}
    return [
        user.name
        for user in account_users(snapshot)
        if user.admin and (user.password or user.keys) and (user.name in open_to or user.name not in judged)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The result of a comparison with IAM's policy simulator.

    `differing` describes the actions for which the simulator decides differently from mfa-kit. `why_not` says why the
    comparison was not possible, or is "" if it was possible.
    """

    differing: tuple[str, ...] = ()
    why_not: str = ""


def compare_with_simulator(document: str, account: "AccountSource") -> Comparison:
    """Compare mfa-kit's decisions on a policy with those of iam:SimulateCustomPolicy, and return the differences.

    A few actions are evaluated three times: for access keys, for console sessions without MFA, and for sessions with
    MFA. Two decisions differ if exactly one of them is an explicit deny. If mfa-kit's decision is UNKNOWN, it is not
    compared.
    """
    differing = []
    actions = (*WORK, "sts:GetSessionToken", "iam:ChangePassword", "iam:ListVirtualMFADevices")
    try:
        for request_kind, context in WAYS.items():
            theirs = account.simulated([document], actions, context)
            for action, verdict in theirs.items():
                ours = evaluate([document], action, "*", context)
                # If `ours` is UNKNOWN, it depends on a condition key whose value was not sent to the simulator.
                if ours is not Decision.UNKNOWN and Decision.EXPLICIT in {ours, verdict} and ours is not verdict:
                    differing.append(f"{action} ({request_kind}): IAM says {verdict}, mfa-kit says {ours}")
    except MfaKitError as error:
        return Comparison(why_not=str(error))
    return Comparison(differing=tuple(differing))


def locked_out(accesses: Iterable[UserAccess], *, self_enroll: bool) -> set[str]:
    """Return the users who would or might be locked out.

    With `self_enroll`, leave out users who can enroll themselves.
    """
    spared = {AccessState.ENROLLS} if self_enroll else set()
    return {access.user for access in accesses if access.shut and access.state not in spared}
