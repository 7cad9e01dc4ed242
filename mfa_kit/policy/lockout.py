"""Reports who would lose access if a policy were attached today, based on a snapshot of the account.

The policy is an identity policy of users, or a service control policy (SCP) of an organization. An SCP also limits
roles and the root user.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache, reduce
from itertools import chain, combinations, product, starmap

from mfa_kit.account.evaluator import (
    MFA,
    MFA_AGE,
    NO_MFA,
    PLAIN_KEYS,
    SIGN_IN,
    UNREAD_CONTROL,
    WITH_MFA,
    WORK,
    Decision,
    EntityPolicies,
    IamStatement,
    Levels,
    RequestContext,
    ValuePattern,
    about,
    actions_named,
    allows_all,
    control_levels,
    control_text,
    entity_policies,
    evaluate,
    holds,
    limit,
    limited,
    statements,
    usable_levels,
)
from mfa_kit.account.snapshot import ControlLevel, Entity, RootVerdict, Snapshot, SnapshotPart
from mfa_kit.account.users import AccountUser, account_users
from mfa_kit.core.errors import Lockout, UsageFault
from mfa_kit.core.message import Message, command, mfa_kit, suggest
from mfa_kit.core.models import REPORTED_ROOT, DeviceType
from mfa_kit.core.text import few, iso_time
from mfa_kit.organization.accounts import AUDIT_ROLE, ENROLL_ROLE, in_account
from mfa_kit.organization.control_policies import with_policy
from mfa_kit.policy.action_patterns import (
    ActionOnResource,
    all_pairs,
    common_example,
    limit_patterns,
    named_patterns,
    overlap_examples,
    partial_overlaps,
    with_values,
)

CODES = {DeviceType.VIRTUAL, DeviceType.HARDWARE_TOTP}


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
CONTROL_MEND = "change the policy so that it allows some work, or attach it elsewhere"
CONTROL_ROLE = "give the program a role, or exempt this user by aws:PrincipalArn"
CONTROL_SPARE = 'limit the Deny to users: "ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}'
ASSUMED = 'add to the Deny: "Null": {"aws:AssumedRoot": "true"}'
NO_SESSION = "sts:GetSessionToken is denied, and AWS does not document whether an SCP can deny it"
UNKNOWN_KEY = "it depends on whether the session has aws:MultiFactorAuthPresent, which AWS does not document"
# The value of aws:MultiFactorAuthPresent in the session of a role is false, or the key is absent. AWS does not document
# which (IAM user guide, "AWS global condition context keys").
NO_MFA_INFORMATION: tuple[RequestContext, ...] = (NO_MFA, {MFA: None, MFA_AGE: None})
# A request that an AWS service sends with the credentials of its caller (same page).
VIA_SERVICE: RequestContext = {
    **NO_MFA,
    "aws:ViaAWSService": "true",
    **{f"aws:CalledVia{end}": ValuePattern("*") for end in ("", "First", "Last")},
}
EVERYTHING = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
ROOT = REPORTED_ROOT
# Service-linked roles are exempt from SCPs (Organizations user guide, "Service control policies").
SERVICE_LINKED = ":role/aws-service-role/"
OUR_ROLES = {f"role/{name}" for name in (AUDIT_ROLE, ENROLL_ROLE)}
CANNOT_CHANGE = "the password must be changed, which is denied"
BLOCKED = "can no longer enroll an MFA device"
SILENT = "AWS services can no longer send requests with this user's credentials, because these never have MFA"
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


# The states in which nothing changes for the user.
UNCHANGED = {AccessState.FINE, AccessState.NO_WAY}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessAfterPolicy:
    """The access of one user if a policy were attached, in the schema mfa-kit/policy-lockout."""

    user: str
    way: str
    standing: str
    why: str
    first: str | None
    already: bool


def after_policy(access: UserAccess, *, account: str | None = None) -> AccessAfterPolicy:
    """Return a UserAccess for output. With the ID of an account, the commands name it."""
    first = in_account(access.first, account) if access.first and account else access.first
    return AccessAfterPolicy(
        user=access.user,
        way=access.way,
        standing=access.state,
        why=access.why,
        first=first or None,
        already=access.already,
    )


PERMISSION = suggest(
    "get the missing permission, then run this again; to see the permissions of the job", "policy show --for auditor"
)


def unread_users(why: str, hint: str = PERMISSION) -> Lockout:
    """Return the error for an account of which a part could not be read, so that users may not have been checked."""
    return Lockout(f"some users may not have been checked, because this could not be read: {why}", hint)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The policies that are tried: identity policies that users would get, or one SCP.

    `texts` has the new policies. For SCPs, `levels` has the usable levels of SCPs that the account would then have, and
    `changed` those levels that change, before and after. For identity policies, both are None.
    """

    texts: tuple[str, ...]
    levels: Levels | None = None
    changed: tuple[Levels, Levels] | None = None

    @property
    def is_control(self) -> bool:
        """Whether an SCP is tried."""
        return self.levels is not None

    def after(self, policies: EntityPolicies) -> EntityPolicies:
        """Return the policies that a user or role would have."""
        if self.levels is not None:
            return replace(policies, levels=self.levels)
        return replace(policies, documents=(*policies.documents, *self.texts))

    def denied(self, action: str, resource: str, request: RequestContext) -> Decision:
        """Return EXPLICIT if the new policies deny an action, UNKNOWN if that is unknown, and otherwise ALLOW.

        An action that the level of an SCP would no longer allow is denied too.
        """
        if self.changed is None:
            verdict = evaluate(self.texts, action, resource, request)
            return verdict if verdict in {Decision.EXPLICIT, Decision.UNKNOWN} else Decision.ALLOW
        before, after = (limit(action, resource, request, levels=levels) for levels in self.changed)
        if before is after is Decision.UNKNOWN:
            own = evaluate(self.texts, action, resource, request)
            harmless = own is Decision.ALLOW or (own is Decision.IMPLICIT and self._leaves_full_access)
            return Decision.ALLOW if harmless else Decision.UNKNOWN
        if before is after:
            return Decision.ALLOW
        return Decision.EXPLICIT if after is Decision.IMPLICIT else after

    @property
    def _leaves_full_access(self) -> bool:
        """Whether each level of SCPs that changes still has a policy that allows every request."""
        after = self.changed[1] if self.changed else ()
        return all(any(map(allows_all, texts)) for texts in after)

    @property
    def denies(self) -> list[IamStatement]:
        """The Deny statements of the new policies."""
        return _denies(self.texts)

    @property
    def named(self) -> list[ActionOnResource]:
        """The pairs of action and resource that the new policies deny, or that an Allow leaves out."""
        allows = (statement for text in self.texts for statement in statements(text) if statement.allow)
        left_out = [(action, "*") for statement in allows for action in statement.but_actions]
        return [pair for text in self.texts for pair in actions_named(text, allow=False, complete=True)] + left_out

    def may_deny(self, request: RequestContext) -> bool:
        """Whether the new policies can take something away from requests with this context."""
        if not self._leaves_full_access:
            return True
        return any(holds(statement, request) is not False for statement in self.denies)


# The trial of nothing new.
TODAY = Trial(texts=())


def _denies(texts: Iterable[str]) -> list[IamStatement]:
    """Return the Deny statements of policies."""
    return [statement for text in texts for statement in statements(text) if not statement.allow]


def access_with(snapshot: Snapshot, document: str, *, group: str | None = None) -> list[UserAccess]:
    """Return the access that each user in a group would have if a policy were attached to them, worst first.

    If `group` is None, all users are included. A user with a password and access keys is listed twice.
    """
    trial = Trial(texts=(document,))
    accesses = [access for user in users_in(snapshot, group) for access in _access(user, trial, snapshot)]
    return _worst_first(accesses)


def _worst_first(accesses: Iterable[UserAccess]) -> list[UserAccess]:
    """Return accesses in their order: the roles of mfa-kit first, then by state and by name."""
    order = list(AccessState)
    return sorted(accesses, key=lambda access: (access.user not in OUR_ROLES, order.index(access.state), access.user))


def control_trial(snapshot: Snapshot, text: str, *, target: str, instead: bool = False) -> Trial | None:
    """Return the Trial of an SCP that would be attached to a root, unit or account (`target` is its ID).

    With `instead`, FullAWSAccess would be detached from the target. Return None for an account that the SCP does not
    affect. If the levels of the account could not be read, all results are unknown.
    """
    if snapshot.control is None:
        return _unread_trial(text)
    after = with_policy(snapshot.control, text, target=target, instead=instead)
    if after is None:
        return None
    pairs = [(_texts(old), _texts(new)) for old, new in zip(snapshot.control, after, strict=True) if old != new]
    changed = tuple(old for old, _ in pairs), tuple(new for _, new in pairs)
    return Trial(texts=(text,), levels=usable_levels(tuple(map(_texts, after))), changed=changed)


def attached_trial(snapshot: Snapshot) -> Trial | None:
    """Return the Trial of all SCPs that apply to the account today, compared with an account without SCPs.

    Return None for an account that no SCP affects. If they could not be read, all results are unknown.
    """
    if snapshot.control is None:
        return _unread_trial()
    levels = usable_levels(tuple(map(_texts, snapshot.control)))
    if not levels:
        return None
    return Trial(texts=tuple(text for texts in levels for text in texts), levels=levels, changed=((), levels))


def _unread_trial(*texts: str) -> Trial:
    unread = (UNREAD_CONTROL,)
    return Trial(texts=texts, levels=(unread, *((text,) for text in texts)), changed=((unread,), ((*unread, *texts),)))


def _texts(level: ControlLevel) -> tuple[str, ...]:
    return tuple(map(control_text, level.policies))


def access_under(snapshot: Snapshot, trial: Trial) -> list[UserAccess]:
    """Return the access that users, roles and root would have under SCPs. The roles of mfa-kit come first."""
    users = [access for user in account_users(snapshot) for access in _access(user, trial, snapshot)]
    roles = [_role_access(role, trial, snapshot) for role in snapshot.roles if SERVICE_LINKED not in role.arn]
    return _worst_first([*users, *roles, *_root_accesses(trial, snapshot)])


def _access(user: AccountUser, trial: Trial, snapshot: Snapshot) -> list[UserAccess]:
    if user.credentials is None:
        why = "the credential report does not list this user or could not be read"
        return [UserAccess(user=user.name, way="any", state=AccessState.UNKNOWN, why=why)]
    accesses = []
    if user.password:
        accesses.append(_console(user, trial, snapshot))
    if user.keys:
        accesses.append(_keys(user, trial))
    if not accesses:
        why = "neither a console password nor an active access key"
        accesses.append(UserAccess(user=user.name, way="none", state=AccessState.NO_WAY, why=why))
    return accesses


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """The effect that new policies would have on the actions of a user, in requests with one context.

    `would` says whether today's and the new policies together would deny all work (all actions except those for the
    user's own sign-in), or None if that is unknown. `lost` lists, as text, the actions that the new policies would or
    might take away. `policies` has today's policies.
    """

    policies: EntityPolicies
    request: RequestContext
    would: bool | None
    lost: str

    def does(self) -> bool:
        """Return whether today's policies alone deny all work."""
        return self.policies.denies_all_work(self.request) is True


def _work(policies: EntityPolicies, trial: Trial, request: RequestContext, *, gap: bool = False) -> _Work:
    """Return the effect on requests with this context. With `gap`, a policy of the user could not be read."""
    would = trial.after(policies).denies_all_work(request)
    lost: list[ActionOnResource] = []
    if would is False:
        would, lost = _lost(policies, trial, request)
    spared: list[ActionOnResource] = []
    if would is not False:
        keeps, spared = _spared(policies, trial, request)
        if keeps:
            would, lost = False, list(_denied(policies, trial, request))
        elif keeps is None:
            would = None
    return _Work(
        policies=policies,
        request=request,
        would=None if gap and not would else would,
        lost=_in_words(lost) + (f", except {_in_words(spared)}" if lost and spared else ""),
    )


def _in_words(pairs: Iterable[ActionOnResource]) -> str:
    return few([action if resource == "*" else f"{action} on {resource}" for action, resource in pairs])


def _user_work(user: AccountUser, trial: Trial, context: RequestContext) -> _Work:
    return _work(user.policies, trial, {**user.about, **context}, gap=user.policies.unread)


def _spared(
    policies: EntityPolicies, trial: Trial, request: RequestContext
) -> tuple[bool | None, list[ActionOnResource]]:
    """Return whether the user can still do some work, or None if that is unknown, and examples of that work.

    Call this when all the actions that were tried are or may be denied. An example is in the overlap of what the user's
    policies, the boundary and each level of SCPs allow, and of what a Deny exempts, if one does. The actions in WORK
    count too: to an administrator, `iam:*` is work.
    """
    after = trial.after(policies)
    allowed = dict.fromkeys(named_patterns(policies.documents, request, allow=True))
    limits = [limit_patterns(texts, request) for texts in (*_boundaries(after), *after.levels)]
    reached = reduce(overlap_examples, limits, allowed)
    exempt = (*_exempt_pairs(after.documents, after.levels), *((action, "*") for action in WORK))
    pairs = (*(pair for pair in reached if pair[0] != "*"), *overlap_examples(reached, dict.fromkeys(exempt)))
    decisions = {pair: after.decide(*pair, request) for pair in pairs}
    kept = [pair for pair, decision in decisions.items() if decision is Decision.ALLOW]
    if kept:
        return True, [pair for pair in kept if pair[0] not in WORK] or kept
    # The overlap of two patterns is an example of it, which a third pattern may lack.
    missed = bool(allowed) and not reached and all(starmap(overlap_examples, combinations((allowed, *limits), 2)))
    return (None if missed or Decision.UNKNOWN in decisions.values() else False), []


def _boundaries(policies: EntityPolicies) -> tuple[tuple[str, ...], ...]:
    return () if policies.boundary is None else ((policies.boundary,),)


@lru_cache(maxsize=4096)
def _exempt_pairs(documents: tuple[str, ...], levels: Levels) -> tuple[ActionOnResource, ...]:
    """Return what Deny statements exempt: the actions in NotAction, and the resources in NotResource.

    Actions of IAM, STS and AWS Sign-In are left out, because users need these to enroll.
    """
    denies = _denies((*documents, *chain(*levels)))
    actions = [(action, "*") for deny in denies for action in deny.but_actions]
    resources = [("*", resource) for deny in denies for resource in deny.but_resources]
    return tuple(pair for pair in (*actions, *resources) if not pair[0].lower().startswith(("iam:", "sts:", "signin:")))


def _lost(
    policies: EntityPolicies, trial: Trial, request: RequestContext
) -> tuple[bool | None, list[ActionOnResource]]:
    """Return a pair: whether the new policies would deny all actions that are allowed now, and what they deny.

    The first value is True if no action would stay allowed, False if at least one would, and None if that is unknown.
    The second value lists the actions that the policies would or might deny, each with its resource.
    """
    if not trial.may_deny(request):
        return False, []
    lost = _denied(policies, trial, request)
    remaining_pairs = (pair for pair in _allowed(policies, request) if pair not in lost)
    if not lost or any(_may(policies, pair, request) for pair in remaining_pairs):
        return False, list(lost)
    return (True if set(lost.values()) == {Decision.EXPLICIT} else None), list(lost)


def _allowed(policies: EntityPolicies, request: RequestContext) -> list[ActionOnResource]:
    """Return examples of actions that may be allowed, each with its resource: one for each service and resource.

    Policy variables in the resources are replaced. What a boundary or a service control policy names counts too,
    because a pattern such as `*` is not allowed within these.
    """
    limits = chain(*_boundaries(policies), *policies.levels)
    pairs = [pair for text in (*policies.documents, *limits) for pair in actions_named(text, allow=True, complete=True)]
    return list(dict.fromkeys(with_values(pairs, request)))


def _denied(policies: EntityPolicies, trial: Trial, request: RequestContext) -> dict[ActionOnResource, Decision]:
    """Return the actions that are or may be allowed now, and that the new policies would or might deny.

    The keys are pairs of an action and a resource. The values are the decisions of the new policies: EXPLICIT or
    UNKNOWN.
    """
    allowed = named_patterns(policies.documents, request, allow=True)
    denied = named_patterns(trial.texts, request, allow=False)
    named = with_values(trial.named, request)
    pairs = dict.fromkeys((*_allowed(policies, request), *named, *partial_overlaps(allowed, denied)))
    return _denied_of(pairs, policies, trial, request)


def _denied_of(
    pairs: Iterable[ActionOnResource], policies: EntityPolicies, trial: Trial, request: RequestContext
) -> dict[ActionOnResource, Decision]:
    """Return those of the pairs that are or may be allowed now, and that the new policies would or might deny."""
    decisions = {pair: trial.denied(*pair, request) for pair in pairs}
    return {
        pair: decision
        for pair, decision in decisions.items()
        if decision is not Decision.ALLOW and _may(policies, pair, request)
    }


def _may(policies: EntityPolicies, pair: ActionOnResource, request: RequestContext) -> bool:
    return policies.may_allow(*pair, request)


# A state, and the reason for it.
_Verdict = tuple[AccessState, str]
# A condition, and the state and reason that apply if it is true. The first true condition decides.
_Case = tuple[bool, AccessState, str]


def _access_by(
    user: str, way: str, verdict: _Verdict, *, first: str, already: Callable[[], bool] = lambda: False
) -> UserAccess:
    """Return the access in a state. `first` and `already` count only for somebody who is or might be locked out."""
    state, why = verdict
    if state not in SHUT:
        return UserAccess(user=user, way=way, state=state, why=why)
    return UserAccess(user=user, way=way, state=state, why=why, first=first, already=already())


def _first_case(cases: Iterable[_Case]) -> _Verdict:
    return next((state, why) for case, state, why in cases if case)


def _console(user: AccountUser, trial: Trial, snapshot: Snapshot) -> UserAccess:
    with_mfa, bare = _user_work(user, trial, WITH_MFA), _user_work(user, trial, NO_MFA)
    spared = user.mfa is False and bare.would is False
    cases: tuple[_Case, ...] = (
        (with_mfa.would is True and not spared, AccessState.LOCKED, NOTHING),
        (None in {bare.would, with_mfa.would} and not spared, AccessState.UNKNOWN, _unjudged(user)),
        *(_console_under_control(user, trial, snapshot, with_mfa=with_mfa, bare=bare) if trial.is_control else ()),
        *(_console_with_mfa(user, with_mfa) if bare.would else _console_without_mfa(user, with_mfa, bare)),
        *(_without_device(user, trial, snapshot) if bare.would else ()),
    )
    first = (CONTROL_MEND if trial.is_control else MEND) if with_mfa.would else _enroll(user)

    def already() -> bool:
        return bare.does() or (
            _denies_change(user, TODAY) is Decision.EXPLICIT and _changes_first(user, snapshot) is True
        )

    return _access_by(user.name, "console", _first_case(cases), first=first, already=already)


def _console_without_mfa(user: AccountUser, with_mfa: _Work, bare: _Work) -> tuple[_Case, ...]:
    """Return the cases of a console user who can work without MFA. The arguments are the effects on the sessions."""
    usable = _usable(user)
    return (
        (bool(with_mfa.lost), AccessState.CHANGES, f"denied even with MFA: {with_mfa.lost}"),
        (bool(bare.lost) and not usable, AccessState.CHANGES, f"denied without MFA: {bare.lost}"),
        (not bare.lost, AccessState.FINE, "no policy requires MFA for this sign-in"),
        (True, AccessState.FINE, f"signs in with MFA: {usable}"),
    )


def _console_with_mfa(user: AccountUser, with_mfa: _Work) -> tuple[_Case, ...]:
    """Return the cases of a console user who can work only with MFA, and who has a device."""
    usable, risk = _usable(user), _single(user) if len(user.devices) == 1 else ""
    lost = f"denied even with MFA: {with_mfa.lost}{risk and f'; {risk}'}"
    return (
        (bool(usable and with_mfa.lost), AccessState.CHANGES, lost),
        (bool(usable and risk), AccessState.RISKS, risk),
        (bool(usable), AccessState.FINE, f"signs in with MFA: {usable}"),
    )


def _usable(user: AccountUser) -> str:
    """Return the types of a user's devices with which AWS lets users sign in, as text."""
    return ", ".join(sorted(user.types - {DeviceType.SMS}))


def _at_sign_in(user: AccountUser) -> RequestContext:
    """Return the condition keys of the console sessions that a user gets. MFA that could not be read counts as used."""
    return NO_MFA if user.mfa is False or user.types == {DeviceType.SMS} else WITH_MFA


def _console_under_control(
    user: AccountUser, trial: Trial, snapshot: Snapshot, *, with_mfa: _Work, bare: _Work
) -> tuple[_Case, ...]:
    """Return the cases of a console user who keeps access under a new SCP, but loses something beside work.

    `with_mfa` and `bare` are the effects on console sessions.
    """
    if bare.would and not _usable(user):
        return ()  # nothing is left that could change
    context = _at_sign_in(user)
    own, lost = _own_lost(user, trial, context), with_mfa.lost or bare.lost
    keeps_work = bool(user.types) or not (bare.would or bare.lost)
    return (
        *_password_cases(user, trial, snapshot),
        (_blocked(user, trial, context), AccessState.CHANGES, f"{BLOCKED}{f'; also denied: {lost}' if lost else ''}"),
        (not with_mfa.lost and keeps_work and _ends_services(user, trial), AccessState.CHANGES, SILENT),
        (not bare.would and not lost and bool(own), AccessState.CHANGES, f"denied: {few(own)}"),
    )


def _password_cases(user: AccountUser, trial: Trial, snapshot: Snapshot) -> tuple[_Case, ...]:
    """Return the cases of a user who must change the password to sign in, which the policies deny or might deny."""
    denied = _denies_change(user, trial)
    change = _changes_first(user, snapshot) if denied is not Decision.ALLOW else False
    return (
        (bool(change) and denied is Decision.EXPLICIT, AccessState.LOCKED, CANNOT_CHANGE),
        (change is not False, AccessState.UNKNOWN, f"perhaps {CANNOT_CHANGE}"),
    )


def _denies_change(user: AccountUser, trial: Trial) -> Decision:
    """Return whether today's or the new policies deny a change of the password at sign-in: EXPLICIT, UNKNOWN or ALLOW.

    The account's password policy can allow it where no policy of the user does, but not where an SCP does not.
    """
    change = ("iam:ChangePassword", user.user.arn, {**user.about, **_at_sign_in(user)})
    denied = {Decision.EXPLICIT, Decision.IMPLICIT}
    if user.policies.decide(*change) is Decision.EXPLICIT or limit(*change, levels=user.policies.levels) in denied:
        return Decision.EXPLICIT
    return trial.denied(*change)


def _keys_under_control(user: AccountUser, trial: Trial) -> tuple[_Case, ...]:
    """Return the cases of access keys that keep all work under a new SCP."""
    own = _own_lost(user, trial, PLAIN_KEYS)
    return (
        (_blocked(user, trial, PLAIN_KEYS), AccessState.CHANGES, BLOCKED),
        (_ends_services(user, trial), AccessState.CHANGES, SILENT),
        (bool(own), AccessState.CHANGES, f"denied: {few(own)}"),
    )


def _blocked(user: AccountUser, trial: Trial, context: RequestContext) -> bool:
    """Whether a user can enroll a device today, and could no longer under the new policies."""
    return _may_enroll(user, TODAY, context) and not _may_enroll(user, trial, context)


def _ends_services(user: AccountUser, trial: Trial) -> bool:
    """Whether the new policies deny what AWS services do with the credentials of a user."""
    work = _user_work(user, trial, VIA_SERVICE)
    return (work.would is not False or bool(work.lost)) and not work.does()


def _own_lost(user: AccountUser, trial: Trial, context: RequestContext) -> list[str]:
    """Return the actions for a user's own sign-in that Deny statements name, and that the user would or might lose."""
    named = {action for row in trial.denies for action in row.actions if SIGN_IN.fullmatch(action.lower())}
    own = ("*", user.user.arn, f"{user.user.arn.partition(':user/')[0]}:mfa/{user.name}")
    lost = _denied_of(product(sorted(named), own), user.policies, trial, {**user.about, **context})
    return list(dict.fromkeys(action for action, _ in lost))


def _without_device(user: AccountUser, trial: Trial, snapshot: Snapshot) -> tuple[_Case, ...]:
    """Return the cases of a user whose policies require MFA, but who has no device that AWS accepts."""
    reason = "only a phone number, which AWS no longer accepts" if user.devices else "no MFA device"
    change = _changes_first(user, snapshot)
    denied = _denies_change(user, trial) if change else Decision.ALLOW
    return (
        (user.mfa is not False and not user.devices, AccessState.UNKNOWN, UNREAD),
        (change is None, AccessState.UNKNOWN, f"{reason}; whether the password must be changed could not be read"),
        (denied is Decision.EXPLICIT, AccessState.LOCKED, f"{reason}; {CANNOT_CHANGE} without MFA"),
        (denied is Decision.UNKNOWN, AccessState.UNKNOWN, f"{reason}; perhaps {CANNOT_CHANGE}"),
        (_may_enroll(user, trial), AccessState.ENROLLS, f"{reason}; can only sign in and enroll a device"),
        (
            bool(user.keys) and _may_enroll(user, trial, PLAIN_KEYS),
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


def _judged(user: AccountUser, trial: Trial, action: str, on: str, context: RequestContext = NO_MFA) -> Decision:
    return trial.after(user.policies).decide(action, on, {**user.about, **context})


def _changes_first(user: AccountUser, snapshot: Snapshot) -> bool | None:
    """Whether the user has to choose a new password at the next sign-in, or None if that is unknown."""
    row = user.credentials
    if row and row.password_expires is not None and row.password_expires <= snapshot.at:
        return True
    return snapshot.must_change.get(user.name) if may_have_to_change(user) else False


def _may_enroll(user: AccountUser, trial: Trial, context: RequestContext = NO_MFA) -> bool:
    """Whether a user without MFA may create and enable a first device that has the user's name.

    `context` has the condition keys of a console session or of plain access keys.
    """
    start = user.user.arn.partition(":user/")[0]
    own = (("iam:CreateVirtualMFADevice", f"{start}:mfa/{user.name}"), ("iam:EnableMFADevice", user.user.arn))
    return all(_judged(user, trial, action, on, context) is Decision.ALLOW for action, on in own)


def _keys(user: AccountUser, trial: Trial) -> UserAccess:
    with_mfa, bare = _user_work(user, trial, WITH_MFA), _user_work(user, trial, PLAIN_KEYS)
    session = _judged(user, trial, "sts:GetSessionToken", "*", PLAIN_KEYS)
    unused = "" if any(key.used for key in user.keys) else "; the keys were never used"
    others = (
        _keys_without_mfa(user, trial, with_mfa, bare, unused=unused)
        if bare.would is False
        else _keys_with_mfa(user, trial, with_mfa, session, unused=unused)
    )
    cases: tuple[_Case, ...] = (
        (with_mfa.would is True and bare.would is not False, AccessState.LOCKED, f"{NOTHING}{unused}"),
        (bare.would is None, AccessState.UNKNOWN, _unjudged(user)),
        *others,
    )
    first = _first_for_keys(user, trial, session, mend=bool(with_mfa.would))
    return _access_by(user.name, "access keys", _first_case(cases), first=first, already=bare.does)


def _keys_without_mfa(
    user: AccountUser, trial: Trial, with_mfa: _Work, bare: _Work, *, unused: str
) -> tuple[_Case, ...]:
    """Return the cases of access keys that work without MFA. `unused` says so if they were never used."""
    return (
        (bool(with_mfa.lost), AccessState.CHANGES, f"denied even with MFA: {with_mfa.lost}{unused}"),
        (bool(bare.lost), AccessState.CHANGES, f"denied to access keys without MFA: {bare.lost}{unused}"),
        *(_keys_under_control(user, trial) if trial.is_control else ()),
        (True, AccessState.FINE, "no policy requires MFA for these keys"),
    )


def _keys_with_mfa(
    user: AccountUser, trial: Trial, with_mfa: _Work, session: Decision, *, unused: str
) -> tuple[_Case, ...]:
    """Return the cases of access keys that work only in sessions with MFA.

    `session` is the decision on a request for such a session. `unused` says so if the keys were never used.
    """
    is_denied, is_program = session is Decision.EXPLICIT, _is_program(user)
    lost = with_mfa.lost and f"; denied even with MFA: {with_mfa.lost}"
    return (
        (trial.is_control and not is_program and is_denied, AccessState.UNKNOWN, f"{NO_SESSION}{unused}"),
        (is_program, AccessState.LOCKED, f"a service user: a program cannot enter codes{unused}"),
        (
            is_denied,
            AccessState.LOCKED,
            f"sts:GetSessionToken is denied, so the keys cannot get a session with MFA{unused}",
        ),
        (with_mfa.would is None, AccessState.UNKNOWN, _unjudged(user)),
        (
            bool(user.types & CODES),
            AccessState.CHANGES,
            f"the keys work only in sessions with MFA, so scripts that use them directly stop working{lost}{unused}",
        ),
        (
            DeviceType.FIDO2 in user.types,
            AccessState.LOCKED,
            f"the only MFA devices are security keys, but STS accepts only codes{unused}",
        ),
        (user.mfa is not False and not user.devices, AccessState.UNKNOWN, UNREAD),
        (True, AccessState.LOCKED, f"no device that shows codes{unused}"),
    )


def _is_program(user: AccountUser) -> bool:
    """Whether a user with access keys is a program, which has no password and no device that shows codes."""
    return not user.password and not user.types & CODES


def _first_for_keys(user: AccountUser, trial: Trial, session: Decision, *, mend: bool) -> str:
    """Return what to do first for access keys. With `mend`, only a change of the policy helps."""
    if mend:
        return CONTROL_MEND if trial.is_control else MEND
    if _is_program(user):
        return CONTROL_ROLE if trial.is_control else ROLE
    return SESSION if session is Decision.EXPLICIT else _enroll(user)


def _role_access(role: Entity, trial: Trial, snapshot: Snapshot) -> UserAccess:
    """Return the access of a role's sessions under an SCP. They have no MFA, so no device helps."""
    levels, gap = control_levels(snapshot)
    policies = limited(entity_policies(role, snapshot.policies), levels, gap)
    requests = [{**about(role, snapshot.at), **session} for session in NO_MFA_INFORMATION]
    state, why = _role_verdict(policies, trial, requests, has_gap=policies.unread or bool(gap))
    if state is AccessState.UNKNOWN and policies.why:
        why = f"{UNJUDGED}{policies.why}"
    return _access_by(
        f"role/{role.arn.partition(':role/')[2]}",
        "role session",
        (state, why),
        first=CONTROL_SPARE,
        already=lambda: all(policies.denies_all_work(request) is True for request in requests),
    )


def _role_verdict(
    policies: EntityPolicies, trial: Trial, requests: Sequence[RequestContext], *, has_gap: bool
) -> _Verdict:
    """Return the state of a role, and the reason. With `has_gap`, a policy of the role could not be read."""
    losses = [_lost_by_role(policies, trial, request) for request in requests]
    would = {None if has_gap and not denied else denied for denied, _ in losses}
    verdict = _state_without_mfa(would, few(list(dict.fromkeys(name for _, names in losses for name in names))))
    if verdict[0] is AccessState.FINE and any(_lost_by_role(policies, trial, {**requests[0], **VIA_SERVICE})):
        return AccessState.CHANGES, "AWS services can no longer send requests with this role's sessions"
    return verdict


def _lost_by_role(policies: EntityPolicies, trial: Trial, request: RequestContext) -> tuple[bool | None, list[str]]:
    """Return what `_lost` returns, for a role. Actions for sign-in count, because the roles of mfa-kit need them."""
    if not trial.may_deny(request):
        return False, []
    allowed = [*with_values(all_pairs(policies.documents, allow=True), request), *_allowed(policies, request)]
    denied = list(with_values((*all_pairs(trial.texts, allow=False), *trial.named), request))
    overlaps = filter(None, starmap(common_example, product(allowed, denied)))
    lost = _denied_of(dict.fromkeys((*allowed, *overlaps)), policies, trial, request)
    keeps: bool | None = any(pair not in lost and _may(policies, pair, request) for pair in allowed)
    names = [action for action, _ in lost]
    if keeps or not lost:
        return False, names
    keeps, _ = _spared(policies, trial, request)
    if keeps is False and set(lost.values()) != {Decision.EXPLICIT}:
        keeps = None
    return (None if keeps is None else not keeps), names


def _state_without_mfa(would: set[bool | None], lost: str) -> _Verdict:
    """Return the state and the reason of a principal whose requests have no MFA, or may have none.

    `would` says whether all work would be denied, for each value that aws:MultiFactorAuthPresent may have.
    """
    if would == {True}:
        return AccessState.LOCKED, "the policy denies all that this principal does, and MFA cannot help"
    if would != {False}:
        return AccessState.UNKNOWN, JUDGED if None in would else UNKNOWN_KEY
    return (
        (AccessState.CHANGES, f"denied: {lost}") if lost else (AccessState.FINE, "the policy denies none of its work")
    )


def _root_accesses(trial: Trial, snapshot: Snapshot) -> Iterator[UserAccess]:
    """Yield the access of the root user under an SCP, and that of the sessions in which mfa-kit audits it."""
    levels, gap = control_levels(snapshot)
    arn = f"arn:{snapshot.partition}:iam::{snapshot.account}:root"
    policies = limited(EntityPolicies(documents=(EVERYTHING,), boundary=None, unread=False), levels, gap)
    known = {
        "aws:PrincipalArn": arn,
        "aws:PrincipalType": "Account",
        "aws:username": None,
        "aws:ViaAWSService": "false",
    }
    known["aws:CurrentTime"] = iso_time(snapshot.at)
    sessions = [{**known, **session} for session in (WITH_MFA, *NO_MFA_INFORMATION)]
    ways = {"console": sessions} if snapshot.root.verdict is not RootVerdict.NO_CREDENTIALS else {}
    ways |= {"access keys": [{**known, **PLAIN_KEYS}]} if snapshot.root.access_keys else {}
    for way, requests in ways.items():
        works = [_work(policies, trial, request, gap=bool(gap)) for request in requests]
        lost = next((work.lost for work in works if work.lost), "")
        verdict = _state_without_mfa({work.would for work in works}, lost)
        yield _access_by(ROOT, way, verdict, first=CONTROL_SPARE)
    yield _audit_of_root(trial.after(policies), arn, sessions)


def _audit_of_root(policies: EntityPolicies, arn: str, sessions: Sequence[RequestContext]) -> UserAccess:
    """Return the access of the sessions of AssumeRoot, in which mfa-kit audits root, under the policies of root."""
    answers = [
        {policies.decide(f"iam:{action}", resource, {**request, "aws:AssumedRoot": "true"}) for request in sessions}
        for action, resource in (("GetAccountSummary", "*"), ("ListMFADevices", arn))
    ]
    if all(decisions == {Decision.ALLOW} for decisions in answers):
        return _access_by(ROOT, "AssumeRoot", (AccessState.FINE, "the policy spares sessions of AssumeRoot"), first="")
    is_denied = any(decisions <= {Decision.EXPLICIT, Decision.IMPLICIT} for decisions in answers)
    state = AccessState.LOCKED if is_denied else AccessState.UNKNOWN
    return _access_by(ROOT, "AssumeRoot", (state, "mfa-kit can (or might) no longer audit root"), first=ASSUMED)


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


def locked_out(accesses: Iterable[UserAccess], *, self_enroll: bool) -> set[str]:
    """Return the users who would or might be locked out.

    With `self_enroll`, leave out users who can enroll themselves.
    """
    spared = {AccessState.ENROLLS} if self_enroll else set()
    return {access.user for access in accesses if access.shut and access.state not in spared}
