"""Finds the users and roles that administer an account or can give themselves the right to do so.

A path is a sequence of steps. A step gives a caller the credentials of a user or role, or changes what a user or role
may do. The steps are the rows of the tables in `escalation_rules`. Rhino Security Labs, "AWS IAM Privilege Escalation -
Methods and Mitigation" (2018), and Bishop Fox, "Privilege Escalation in AWS" (2021), describe many of them. Steps are
repeated until nothing changes, and the policies, with their Denies and permissions boundaries, are evaluated at each
step. Requests have MFA, because an administrator whose policies demand MFA is still an administrator.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import chain, count

from mfa_kit.account.entity_policies import (
    EntityPolicies,
    about,
    administers,
    entity_policies,
    trust_text,
)
from mfa_kit.account.escalation_rules import (
    ACTIONS,
    BOUNDARIES,
    CHANGES,
    CREDENTIALS,
    DOMAIN,
    NAMES,
    PATHFINDING,
    REGION,
    ROLES,
    RULES,
    SERVICES,
)
from mfa_kit.account.evaluator import (
    WITH_MFA,
    Decision,
    IamStatement,
    RequestContext,
    both,
    covers_action,
    evaluate,
    filled_resource,
    holds,
    like,
    overlap,
    policy_flaw,
    principals_let_in,
    statements,
)
from mfa_kit.account.snapshot import Entity, Snapshot

# If a resource in a policy ends with this text, it is the calling user, or a device of this user. Policies that let
# users manage their own credentials have such resources. Credentials of oneself are no path.
OWN = "/${aws:username}"
SERVICE_LINKED = ":role/aws-service-role/"
EVERYTHING = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
# The name of an inline policy with the text EVERYTHING in an entity that a step has changed.
ADDED = "(added)"
# The trust policy of a role whose trust policy the callers write themselves.
OPEN = (
    '{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "*", "Service": ["'
    + '", "'.join(f"{name}.amazonaws.com" for name in SERVICES)
    + '"]}, "Action": "sts:AssumeRole"}]}'
)
TAGS = "aws:PrincipalTag/"
# The number of later steps that are printed, and of new names that are tried for a user, group or role.
LATER_STEPS = 5
NEW_NAMES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStep:
    """One step of a path. `caller` and `target` are ARNs; the caller carries out the actions on the target.

    `words` say what the caller may do, and `name` what the target is called in them. `subject` is the ARN of the user
    or role that may do more after the step, or whose credentials the caller then has. `source` is a URL.
    """

    caller: str
    actions: tuple[str, ...]
    target: str
    subject: str
    words: str
    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Administration:
    """Whether a user or role administers the account. `admin` is None if that is unknown.

    `how` names the path by which the user or role can become an administrator, such as `may create an access key for
    boss (iam:CreateAccessKey), ...`. It is "" if the user or role may write its own policies, or is no administrator.
    If `admin` is None, `how` names the path that cannot be evaluated, or is "". `how` ends at the first other
    administrator on the path, and `later` has the words for the steps after that. `steps` has all steps.
    """

    admin: bool | None
    how: str = ""
    later: str = field(default="", compare=False)
    steps: tuple[PathStep, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class _Path:
    """Steps to a user or role that administers the account by itself (`end`, an ARN), or after the steps (None)."""

    steps: tuple[PathStep, ...] = ()
    end: str | None = None


@lru_cache(maxsize=8192)
def _reaching(document: str) -> frozenset[str]:
    """Return the actions in ACTIONS that a policy allows. For CREDENTIALS, the caller itself is no resource."""
    return frozenset(
        action
        for statement in statements(document)
        if statement.allow
        for action in _actions_of(statement)
        if action not in CREDENTIALS
        or not (statement.resources and all(resource.endswith(OWN) for resource in statement.resources))
    )


def _actions_of(statement: IamStatement) -> Iterable[str]:
    """Return the actions in ACTIONS that a statement covers."""
    if statement.but_actions or any("*" in name or "?" in name for name in statement.actions):
        return [action for action in ACTIONS if covers_action(statement, action)]
    return [NAMES[name.lower()] for name in statement.actions if name.lower() in NAMES]


@lru_cache(maxsize=65536)
def _allowing(document: str, action: str) -> tuple[IamStatement, ...]:
    """Return the Allow statements of a policy that cover an action."""
    allows = (statement for statement in statements(document) if statement.allow)
    return tuple(statement for statement in allows if covers_action(statement, action))


@lru_cache(maxsize=8192)
def _denies(document: str) -> bool:
    """Return whether a policy has a Deny statement."""
    return not policy_flaw(document) and any(not statement.allow for statement in statements(document))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Principal:
    """A user or role, perhaps after changes. `context` has the condition keys of its requests with MFA."""

    entity: Entity
    policies: EntityPolicies
    context: RequestContext

    @cached_property
    def actions(self) -> frozenset[str]:
        """The actions in ACTIONS that an Allow statement has. Denies and the boundary are considered in `may`."""
        return frozenset[str]().union(*(_reaching(document) for document in self.policies.documents))

    def may(self, action: str, resource: str, context: RequestContext | None = None) -> bool | None:
        """Return whether the policies allow an action on a resource, or None if that is unknown.

        `context` has further condition keys of the request.
        """
        if action not in self.actions:
            return False
        decision = self.policies.decide(action, resource, {**self.context, **(context or {})})
        return None if decision is Decision.UNKNOWN else decision is Decision.ALLOW

    def may_change(self, action: str, target: Entity, *, policy: str = "") -> bool | None:
        """Return whether the policies allow an action on a user, group or role, or None if that is unknown.

        `policy` is the ARN of the managed policy that the action attaches or detaches.
        """
        tags = {f"iam:ResourceTag/{name}": value for name, value in target.tags.items()}
        known: RequestContext = {"iam:PermissionsBoundary": target.boundary, "iam:ResourceTag/": None, **tags}
        return self.may(action, target.arn, {**known, **({"iam:PolicyARN": policy} if policy else {})})

    def may_somewhere(self, action: str) -> bool | None:
        """Return whether the policies allow an action on at least one resource that they name, or None if unknown."""
        return _any(self.may(action, resource) for resource in self.named(action))

    def named(self, action: str) -> set[str]:
        """Return the resources, which may be patterns, that the Allow statements about an action name."""
        return {
            filled_resource(statement, resource, self.context)
            for document in self.policies.documents
            for statement in _allowing(document, action)
            for resource in statement.resources or ("*",)
        }

    def among(self, action: str, pool: Mapping[str, Entity]) -> Iterator[Entity]:
        """Yield the entities of a pool (by ARN) that the Allow statements about an action name."""
        for pattern in self.named(action) if action in self.actions else ():
            if pattern in pool:
                yield pool[pattern]
            elif any(character in pattern for character in "*?$"):
                yield from (entity for arn, entity in pool.items() if like(pattern, arn))


class _Account:
    """The users, roles and groups of an account, and the paths that are known.

    Without `known`, the paths are those that exist, and `doubts` becomes true when a fact is unknown. With `known`,
    which has these paths, an unknown fact counts as true, so that the paths are those that may exist.
    """

    def __init__(self, snapshot: Snapshot, known: "_Account | None" = None) -> None:
        self.snapshot = snapshot
        self.possible = known is not None
        self.doubts = False
        self.groups = {group.name: group for group in snapshot.groups}
        roles = (role for role in snapshot.roles if SERVICE_LINKED not in role.arn)
        self.entities = {entity.arn: entity for entity in (*snapshot.users, *roles)}
        self.principals: dict[str, _Principal] = (
            known.principals
            if known
            else {entity.arn: self.principal(entity, self.groups) for entity in (*snapshot.users, *snapshot.roles)}
        )
        self.paths: dict[str, _Path] = dict(known.paths) if known else {}
        self.takers: dict[str, list[PathStep]] = {}
        self.steps: dict[_Principal, list[PathStep]] = {}

    def holds(self, answer: bool | None) -> bool:
        """Return an answer. An unknown one counts as `possible`."""
        self.doubts = self.doubts or answer is None
        return self.possible if answer is None else answer

    def principal(self, entity: Entity, groups: Mapping[str, Entity]) -> _Principal:
        """Return a user or role with its policies. `groups` has the groups by name."""
        policies = entity_policies(entity, self.snapshot.policies, groups=groups)
        return _Principal(entity=entity, policies=policies, context={**about(entity), **WITH_MFA})

    def administers(self, principal: _Principal) -> bool:
        """Return whether a user or role administers the account without a further step."""
        return self.holds(administers(principal.entity, principal.policies))

    @cached_property
    def wholes(self) -> list[str]:
        """The ARNs of managed policies with which a user or role administers the account."""
        known = {arn for arn, text in self.snapshot.policies.items() if not policy_flaw(text)}
        own = [arn for arn in known if evaluate((self.snapshot.policies[arn],), "*", "*", WITH_MFA) is Decision.ALLOW]
        names = ("AdministratorAccess", "IAMFullAccess")
        return [*(f"arn:{self.snapshot.partition}:iam::aws:policy/{name}" for name in names), *sorted(own)]

    @cached_property
    def trusted(self) -> dict[str, list[Entity]]:
        """The roles whose trust policies name an AWS principal, by the principal's name."""
        trusted: dict[str, list[Entity]] = {}
        for role in self.snapshot.roles:
            for kind, name in dict.fromkeys(principals_let_in(trust_text(role), {})):
                if kind == "AWS" and role.arn in self.entities:
                    trusted.setdefault(name, []).append(role)
        return trusted

    @cached_property
    def holders(self) -> dict[str, list[Entity]]:
        """The users, groups and roles that a customer managed policy is attached to, by the policy's ARN."""
        holders: dict[str, list[Entity]] = {}
        for holder in (*self.entities.values(), *self.groups.values()):
            for arn in holder.attached if any(":iam::aws:" not in arn for arn in holder.attached) else ():
                holders.setdefault(arn, []).append(holder)
        return holders

    @cached_property
    def worthwhile(self) -> dict[str, Entity]:
        """The users and roles, by ARN, whose own credentials give more than those of any user."""
        return {
            arn: entity
            for arn, entity in self.entities.items()
            if arn in self.paths or arn in self.trusted or not RULES.keys().isdisjoint(self.principals[arn].actions)
        }

    @cached_property
    def worthwhile_groups(self) -> set[str]:
        """The names of the groups whose policies allow actions of a path, or could not be read."""
        policies = {group.name: entity_policies(group, self.snapshot.policies) for group in self.snapshot.groups}
        return {
            name for name, of_group in policies.items() if of_group.unread or any(map(_reaching, of_group.documents))
        }

    @cached_property
    def wanted_tags(self) -> list[dict[str, str]]:
        """Sets of tags that trust policies and the Allow statements of other policies demand of the caller."""
        texts = chain((trust_text(role) for role in self.snapshot.roles), self.snapshot.policies.values())
        inline = (
            text for entity in (*self.entities.values(), *self.groups.values()) for text in entity.inline.values()
        )
        wanted = [
            {key[len(TAGS) :]: values[0] for _, key, values in statement.lines if key.startswith(TAGS) and values}
            for text in dict.fromkeys(chain(texts, inline))
            if TAGS in text and not policy_flaw(text)
            for statement in statements(text)
            if statement.allow
        ]
        return [tags for tags in wanted if tags]

    def find_paths(self) -> dict[str, _Path]:
        """Return the paths, by the ARN of the user or role that they make an administrator.

        First come those that only take the credentials of other users and roles, from the administrators backwards.
        """
        others = [arn for arn in self.principals if arn not in self.paths]
        self.paths |= {arn: _Path() for arn in others if self.administers(self.principals[arn])}
        admins = list(self.paths)
        for arn in others:
            for step in self.takes(self.principals[arn]) if arn not in self.paths else ():
                self.takers.setdefault(step.subject, []).append(step)
        self._spread(admins)
        changing = [arn for arn in others if not CHANGES.keys().isdisjoint(self.principals[arn].actions)]
        without: set[str] = set()
        for arn in reversed(self._reaching_one_of(arn for arn in changing if arn not in self.paths)):
            if arn not in self.paths and arn not in without:
                search = _Search(self, self.principals[arn])
                if path := search.run():
                    self._spread(self._add_path(arn, path))
                else:  # each of these can hold only what this one can hold
                    without |= {held for held, _ in search.slots}
        return self.paths

    def _add_path(self, arn: str, path: _Path) -> list[str]:
        """Add a path, and those of the users and roles on it that begin at a later step. Return their ARNs."""
        added = []
        while arn not in self.paths:
            self.paths[arn] = path
            added.append(arn)
            first, *rest = path.steps
            taken = first.actions[0] in {*CREDENTIALS, *ROLES} and first.subject in self.principals
            if rest and taken and all(step.caller != arn for step in rest):
                self.paths[arn] = _Path((first,), first.subject)
                arn, path = first.subject, _Path(tuple(rest), path.end)
        return added

    def _spread(self, admins: Iterable[str]) -> None:
        """Add the paths of the users and roles that can take the credentials of administrators, directly or not."""
        todo = deque(admins)
        while todo:
            admin = todo.popleft()
            for step in self.takers.get(admin, ()):
                if step.caller not in self.paths:
                    self.paths[step.caller] = _Path((step,), admin)
                    todo.append(step.caller)

    def _reaching_one_of(self, arns: Iterable[str]) -> list[str]:
        """Return users and roles, and those that can take their credentials, directly or not."""
        reaching = dict.fromkeys(arns)
        todo = deque(reaching)
        while todo:
            for step in self.takers.get(todo.popleft(), ()):
                if step.caller not in reaching:
                    reaching[step.caller] = None
                    todo.append(step.caller)
        return list(reaching)

    def takes(self, caller: _Principal) -> list[PathStep]:
        """Return the steps by which a caller can take the credentials of worthwhile users and roles."""
        if caller not in self.steps:
            pool = self.worthwhile
            entities = list(chain(*(caller.among(action, pool) for action in (*CREDENTIALS, *ROLES))))
            entities += chain(*(self.trusted.get(name, ()) for name in (caller.entity.arn, "*")))
            if "iam:UpdateSAMLProvider" in caller.actions:
                entities += (role for role in pool.values() if ":saml-provider/" in (role.trust or ""))
            candidates = {entity.arn: entity for entity in entities if entity.arn in pool}
            candidates.pop(caller.entity.arn, None)
            steps = (self.take(caller, entity) for entity in candidates.values())
            self.steps[caller] = [step for step in steps if step]
        return self.steps[caller]

    def take(self, caller: _Principal, target: Entity) -> PathStep | None:
        """Return the step by which a caller can take the credentials of a user or role, or None if there is none."""
        if ":role/" in target.arn:
            return next(self._ways_into(caller, target), None)
        for action in ("iam:CreateAccessKey", _password_action(target, self.snapshot)):
            if self.holds(caller.may_change(action, target)):
                return _step(caller, action, target)
        return None

    def _ways_into(self, caller: _Principal, role: Entity) -> Iterator[PathStep]:
        if SERVICE_LINKED in role.arn:
            return
        if self.holds(_may_assume(caller, role, self.snapshot)):
            yield _step(caller, "sts:AssumeRole", role)
        refused = caller.policies.decide("sts:AssumeRole", role.arn, caller.context) is Decision.EXPLICIT
        if not refused and self.holds(caller.may_change("iam:UpdateAssumeRolePolicy", role)):
            yield _step(caller, "iam:UpdateAssumeRolePolicy", role)
        for provider in _saml_providers(role) if "iam:UpdateSAMLProvider" in caller.actions else ():
            if self.holds(caller.may("iam:UpdateSAMLProvider", provider)):
                yield _step(caller, "iam:UpdateSAMLProvider", role)
        let_in = principals_let_in(trust_text(role), {}) if "iam:PassRole" in caller.actions else ()
        for name in sorted({REGION.sub(".", name) for kind, name in let_in if kind == "Service"}):
            passes = caller.may("iam:PassRole", role.arn, {"iam:PassedToService": name})
            for actions, source in SERVICES.get(DOMAIN.sub("", name), {}).items() if passes is not False else ():
                answer = passes
                for action in actions:
                    answer = both(answer, caller.may_somewhere(action))
                if self.holds(answer):
                    yield replace(
                        _step(caller, "iam:PassRole", role, source=source), actions=("iam:PassRole", *actions)
                    )


def _step(
    caller: _Principal,
    action: str,
    target: Entity,
    *,
    subject: Entity | None = None,
    source: str = "",
    name: str = "",
    words: str = "",
) -> PathStep:
    """Return the step that carries out an action. `subject` is the target, if it is not given."""
    rule_words, rule_source = RULES[action]
    where = source or rule_source
    kind = target.arn.rpartition(":")[2].partition("/")[0]
    return PathStep(
        caller=caller.entity.arn,
        actions=(action,),
        target=target.arn,
        subject=(subject or target).arn,
        words=words or rule_words,
        name=name or (target.name if kind == "user" else f"{kind} {target.name}"),
        source=where if ":" in where else PATHFINDING + where,
    )


# A user or role after a change, the step that makes the change, and whether it only adds rights.
_Change = tuple[Entity, PathStep, bool]


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A user or role whose credentials are held after the steps.

    A change that only adds rights keeps the slot, and replaces what was in it.
    """

    principal: _Principal
    steps: tuple[PathStep, ...]
    slot: tuple[str, int] = ("", 0)
    before: "_Held | None" = None


class _Search:
    """The search for a path of one user or role: the credentials that it can hold, until one administers the account.

    `targets` has users and roles, by ARN, whose credentials are worth taking because a held one can change them.
    `groups` has the groups by name, and `writable` the names of those whose policies a held one can change. `made` has
    the steps by which a target or group was made, by ARN.
    """

    def __init__(self, account: _Account, start: _Principal) -> None:
        self.account = account
        self.start = start
        self.groups = dict(account.groups)
        self.writable: set[str] = set()
        self.targets: dict[str, Entity] = {}
        self.made: dict[str, tuple[PathStep, ...]] = {}
        self.slots: dict[tuple[str, int], _Held] = {}
        self.known: set[object] = set()
        self.variants = count(1)

    def run(self) -> _Path | None:
        """Return the path, or None if there is none."""
        todo = deque([_Held(self.start, (), (self.start.entity.arn, 0))])
        while todo:
            held = todo.popleft()
            for more in self._follow(held) if self._accept(held) else ():
                if more.before is None and more.slot[0] in self.account.paths:
                    return _Path(more.steps, more.slot[0])
                if more.before is not None and self.account.administers(more.principal):
                    return _Path(more.steps)
                todo.append(more)
        return None

    def _accept(self, held: _Held) -> bool:
        """Put a held user or role into its slot. Return whether it is new there.

        A change of what is no longer in the slot is not new, because it is found again for what is there now.
        """
        entity = held.principal.entity
        rights = (*entity.inline.items(), entity.attached, entity.groups, entity.boundary, *entity.tags.items())
        if (entity.arn, rights) in self.known or self.slots.get(held.slot, held.before) is not held.before:
            return False
        self.known.add((entity.arn, rights))
        self.slots[held.slot] = held
        return True

    def _follow(self, held: _Held) -> Iterator[_Held]:
        """Yield what can be held through a new user or role, together with those that are held already."""
        for step in self.account.takes(held.principal):
            yield from self._taken(held, step)
        writable = len(self.writable)
        self._add_targets(held)
        callers = list(self.slots.values())
        for target in [target for arn, target in self.targets.items() if (arn, 0) not in self.slots]:
            steps = ((caller, self.account.take(caller.principal, target)) for caller in callers)
            yield from next((self._taken(caller, step) for caller, step in steps if step), ())
        everyone = callers if len(self.writable) > writable else [held]
        for caller in callers:
            if not CHANGES.keys().isdisjoint(caller.principal.actions):
                for other in callers if caller is held else everyone:
                    yield from self._changed(caller, other)

    def _taken(self, caller: _Held, step: PathStep) -> Iterator[_Held]:
        if (arn := step.subject, 0) not in self.slots:
            principal = self.account.principals.get(arn) or self.account.principal(self.targets[arn], self.groups)
            yield _Held(principal, _joined(caller.steps, self.made.get(arn, ()), (step,)), (arn, 0))

    def _changed(self, caller: _Held, held: _Held) -> Iterator[_Held]:
        """Yield a held user or role after each change that a caller can make. The change comes before its use."""
        arn = held.principal.entity.arn
        last = held.steps[-1:]
        late = last and last[0].subject == arn != caller.slot[0] and last[0] not in caller.steps
        first, after = (held.steps[:-1], last) if late else (held.steps, ())
        for entity, step, adds in self._changes(caller.principal, held.principal.entity):
            steps = _joined(first, caller.steps, self.made.get(step.target, ()), (step,), after)
            slot = held.slot if adds else (arn, next(self.variants))
            yield _Held(self.account.principal(entity, self.groups), steps, slot, held)

    def _changes(self, caller: _Principal, entity: Entity) -> Iterator[_Change]:
        groups = [self.groups[name] for name in entity.groups if name in self.groups]
        if ADDED not in entity.inline:
            yield from self._writes(caller, entity, groups)
            yield from self._joins(caller, entity)
        for holder in (entity, *groups):
            yield from self._versions(caller, entity, holder)
            yield from self._removals(caller, entity, holder)
        yield from self._lifts(caller, entity)
        yield from self._tags(caller, entity)

    def _writes(self, caller: _Principal, entity: Entity, groups: Iterable[Entity]) -> Iterator[_Change]:
        """Yield the changes by a new policy of a user or role, or of a group that the user is in."""
        added = replace(entity, inline={**entity.inline, ADDED: EVERYTHING})
        for holder in (entity, *groups):
            own = holder is not entity and caller.entity.arn == entity.arn
            for verb in ("Attach", "Put"):
                action = f"iam:{verb}{_kind(holder)}Policy"
                policies = self.account.wholes if verb == "Attach" else ("",)
                if self.account.holds(_any(caller.may_change(action, holder, policy=policy) for policy in policies)):
                    name = f"its group {holder.name}" if own else ""
                    yield added, _step(caller, action, holder, subject=entity, name=name), True

    def _joins(self, caller: _Principal, entity: Entity) -> Iterator[_Change]:
        """Yield the changes by membership in another group."""
        worthwhile = self.account.worthwhile_groups | self.writable
        pool = {group.arn: group for name, group in self.groups.items() if name in worthwhile}
        words = "join {}" if caller.entity.arn == entity.arn else f"add {entity.name} to {{}}"
        for group in caller.among("iam:AddUserToGroup", pool) if _kind(entity) == "User" else ():
            if group.name not in entity.groups and self.account.holds(caller.may_change("iam:AddUserToGroup", group)):
                adds = not any(map(_denies, entity_policies(group, self.account.snapshot.policies).documents))
                member = replace(entity, groups=(*entity.groups, group.name))
                yield member, _step(caller, "iam:AddUserToGroup", group, subject=entity, words=words), adds

    def _versions(self, caller: _Principal, entity: Entity, holder: Entity) -> Iterator[_Change]:
        """Yield the changes by a new default version, written or chosen, of a managed policy."""
        for arn in holder.attached:
            if ":iam::aws:" in arn:
                continue
            policy, rest = _policy(arn), _without(entity, holder, arn)
            if self.account.holds(caller.may("iam:CreatePolicyVersion", arn)):
                added = replace(rest, inline={**rest.inline, ADDED: EVERYTHING})
                yield added, _step(caller, "iam:CreatePolicyVersion", policy, subject=entity), True
            if (may := caller.may("iam:SetDefaultPolicyVersion", arn)) is not False:
                versions = self.account.snapshot.other_versions.get(arn)
                answer = both(may, None if versions is None else True)
                for text in ((EVERYTHING,) if versions is None else versions) if self.account.holds(answer) else ():
                    chosen = replace(rest, inline={**rest.inline, arn: text})
                    yield chosen, _step(caller, "iam:SetDefaultPolicyVersion", policy, subject=entity), False

    def _removals(self, caller: _Principal, entity: Entity, holder: Entity) -> Iterator[_Change]:
        """Yield the changes by the removal of a policy with a Deny, or of the user from a group with such a policy."""
        policies = self.account.snapshot.policies
        texts = {**holder.inline, **{arn: policies[arn] for arn in holder.attached if arn in policies}}
        for name, text in texts.items():
            arn = name if name in holder.attached else ""
            action = f"iam:{'Detach' if arn else 'Delete'}{_kind(holder)}Policy"
            if _denies(text) and self.account.holds(caller.may_change(action, holder, policy=arn)):
                adds = not any(statement.allow for statement in statements(text))
                yield _without(entity, holder, name), _step(caller, action, holder, subject=entity), adds
        leave = "iam:RemoveUserFromGroup" if holder is not entity and any(map(_denies, texts.values())) else ""
        if leave and self.account.holds(caller.may_change(leave, holder)):
            left = replace(entity, groups=tuple(name for name in entity.groups if name != holder.name))
            yield left, _step(caller, leave, holder, subject=entity), False

    def _lifts(self, caller: _Principal, entity: Entity) -> Iterator[_Change]:
        """Yield the changes by the removal, replacement or rewriting of the permissions boundary."""
        if entity.boundary is None:
            return
        name = "its" if caller.entity.arn == entity.arn else f"{entity.name}'s"
        for verb in ("Delete", "Put"):
            action = f"iam:{verb}{_kind(entity)}PermissionsBoundary"
            if self.account.holds(caller.may_change(action, entity)):
                yield replace(entity, boundary=None), _step(caller, action, entity, name=name), True
        if ":iam::aws:" not in entity.boundary:
            action, policy = "iam:CreatePolicyVersion", _policy(entity.boundary)
            if self.account.holds(caller.may(action, policy.arn)):
                words = RULES["iam:PutUserPermissionsBoundary"][0]
                step = _step(caller, action, policy, subject=entity, name=name, words=words, source=BOUNDARIES)
                yield replace(entity, boundary=None), step, True

    def _tags(self, caller: _Principal, entity: Entity) -> Iterator[_Change]:
        """Yield the changes by tags that a policy demands."""
        action = f"iam:Tag{_kind(entity)}"
        for tags in self.account.wanted_tags if action in caller.actions else ():
            if not tags.items() <= entity.tags.items() and self.account.holds(caller.may_change(action, entity)):
                yield replace(entity, tags={**entity.tags, **tags}), _step(caller, action, entity), False

    def _add_targets(self, held: _Held) -> None:
        """Add the users and roles that a held one can change, and those that it can make."""
        caller, account = held.principal, self.account
        if CHANGES.keys().isdisjoint(caller.actions):
            return
        policies = {arn: _policy(arn) for arn in account.holders}
        changed: list[Entity] = []
        for action in ("iam:CreatePolicyVersion", "iam:SetDefaultPolicyVersion"):
            changed += chain(*(account.holders[policy.arn] for policy in caller.among(action, policies)))
        for kind in ("User", "Role", "Group"):
            self._make(held, kind)
            pool = {group.arn: group for group in self.groups.values()} if kind == "Group" else account.entities
            for verb in ("Attach", "Put"):
                changed += caller.among(f"iam:{verb}{kind}Policy", pool)
        self.writable |= {entity.name for entity in changed if _kind(entity) == "Group"}
        members = (user for user in account.snapshot.users if not self.writable.isdisjoint(user.groups))
        self.targets = {
            entity.arn: entity for entity in (*changed, *members) if _kind(entity) != "Group"
        } | self.targets
        for role in caller.among("iam:UpdateAssumeRolePolicy", account.entities):
            refused = role.arn not in self.made and account.take(caller, role) is None
            if refused and account.holds(caller.may_change("iam:UpdateAssumeRolePolicy", role)):
                self.targets[role.arn] = replace(role, trust=OPEN)
                self.made[role.arn] = (*held.steps, _step(caller, "iam:UpdateAssumeRolePolicy", role))
        if "iam:AddUserToGroup" in caller.actions:
            self._add_member()

    def _add_member(self) -> None:
        """Add a user that can join groups, if none is held: the first whose credentials can be taken."""
        held = [principal.principal for principal in self.slots.values()]
        if any(_kind(principal.entity) == "User" and principal.entity.boundary is None for principal in held):
            return
        users = (user for user in self.account.snapshot.users if user.boundary is None)
        for user in users:
            if any(self.account.take(principal, user) for principal in held):
                self.targets[user.arn] = user
                return

    def _make(self, held: _Held, kind: str) -> None:
        """Add a new user, role or group with each kind of name for which the held ones have rights."""
        action, snapshot = f"iam:Create{kind}", self.account.snapshot
        if action not in held.principal.actions:
            return
        names = {f"arn:{snapshot.partition}:iam::{snapshot.account}:{kind.lower()}/*"}
        names = {text for name in names for other in held.principal.named(action) if (text := overlap(name, other))}
        uses = [use for use in (*CREDENTIALS, *ROLES, *CHANGES) if kind in use or use in CREDENTIALS or use in ROLES]
        for other in {other for one in self.slots.values() for use in uses for other in one.principal.named(use)}:
            if len(names) < NEW_NAMES:
                names |= {text for name in names if (text := overlap(name, other))}
        for arn in sorted(name.replace("*", "new").replace("?", "n") for name in names):
            entity = Entity(name=arn.rpartition("/")[2], arn=arn, trust=OPEN if kind == "Role" else None)
            if arn in self.made or arn in self.account.entities or entity.name in self.groups:
                continue
            if self.account.holds(held.principal.may_change(action, entity)):
                self.made[arn] = (*held.steps, _step(held.principal, action, entity))
                if kind == "Group":
                    self.groups[entity.name] = entity
                else:
                    self.targets[arn] = entity


def _saml_providers(role: Entity) -> Iterator[str]:
    """Yield the ARNs of the SAML providers whose users may assume a role."""
    for statement in statements(trust_text(role)):
        if statement.allow and covers_action(statement, "sts:AssumeRoleWithSAML"):
            yield from (name for kind, name in statement.principals if kind == "Federated")


def _kind(entity: Entity) -> str:
    """Return the kind of a user, group or role as the names of actions have it, such as `User`."""
    return entity.arn.rpartition(":")[2].partition("/")[0].title()


def _policy(arn: str) -> Entity:
    """Return the target of a step that changes a managed policy."""
    return Entity(name=arn.rpartition("/")[2], arn=arn)


def _without(entity: Entity, holder: Entity, policy: str) -> Entity:
    """Return a user or role without a policy (a name or an ARN) of its own or of `holder`, a group that it is in."""
    attached = tuple(arn for arn in holder.attached if arn != policy)
    inline = {name: text for name, text in holder.inline.items() if name != policy}
    if holder is entity:
        return replace(entity, attached=attached, inline=inline)
    groups = tuple(name for name in entity.groups if name != holder.name)
    kept = {f"{holder.name}/{name}": text for name, text in inline.items()}
    return replace(entity, groups=groups, attached=(*entity.attached, *attached), inline={**entity.inline, **kept})


def _joined(*steps: tuple[PathStep, ...]) -> tuple[PathStep, ...]:
    return tuple(dict.fromkeys(chain(*steps)))


def administrations(snapshot: Snapshot) -> dict[str, Administration]:
    """Return for each user and role, by ARN, whether it administers the account."""
    sure = _Account(snapshot)
    sure.find_paths()
    perhaps = _Account(snapshot, sure) if sure.doubts else sure
    if perhaps is not sure:
        perhaps.find_paths()
    return {
        entity.arn: _administration(entity.arn, perhaps.paths, sure.paths)
        for entity in (*snapshot.users, *snapshot.roles)
    }


def _administration(arn: str, paths: Mapping[str, _Path], sure: Mapping[str, _Path]) -> Administration:
    if arn not in paths:
        return Administration(False)
    path, admin = paths[arn], True if arn in sure else None
    steps, end = list(path.steps), path.end
    while end:
        steps += paths[end].steps
        end = paths[end].end
    if not steps:
        return Administration(admin)
    last = path.steps[-1]
    certain = (path.end or arn) in sure
    pronoun = "who" if ":user/" in last.target else "which"
    tail = f", {pronoun} {'administers' if certain else 'may administer'} the account"
    ends = path.end or last.actions == ("iam:AddUserToGroup",)
    more = steps[len(path.steps) :]
    rest = f" and {len(more) - LATER_STEPS} more" if len(more) > LATER_STEPS else ""
    later = _words(more[:LATER_STEPS], arn) + rest if more else ""
    return Administration(admin, f"may {_words(path.steps, arn)}{tail if ends else ''}", later, tuple(steps))


def _words(steps: Iterable[PathStep], start: str) -> str:
    """Return the words for steps, which follow "may". `start` is the ARN of the caller for whom they are meant."""
    phrases = []
    caller, target = start, ""
    for step in steps:
        words = step.words.format("it" if step.target == target else step.name)
        words = words.removeprefix("let itself ") if step.target == target else words
        actor = "" if step.caller == caller else f"as {step.caller.rpartition('/')[2]}, "
        phrases.append(f"{actor}{words} ({', '.join(step.actions)})")
        caller, target = step.caller, step.target
    return " and ".join(filter(None, (", ".join(phrases[:-1]), phrases[-1])))


def _password_action(user: Entity, snapshot: Snapshot) -> str:
    """Return the action that sets a user's password.

    It is UpdateLoginProfile if the user has a password according to the credential report, else CreateLoginProfile.
    """
    row = snapshot.report.users.get(user.name) if snapshot.report else None
    return f"iam:{'Update' if row and row.password else 'Create'}LoginProfile"


def _may_assume(principal: _Principal, role: Entity, snapshot: Snapshot) -> bool | None:
    """Return whether a principal may assume a role, or None if that is unknown.

    If the trust policy names the principal, the principal's own policies need not allow it. If the trust policy names
    the account, they must (IAM user guide, "Policy evaluation logic", for requests within an account).
    """
    number = snapshot.account
    account_names = {number, f"arn:{snapshot.partition}:iam::{number}:root"}
    named = {"*", principal.entity.arn}
    let_in = _trusts(role, named, principal.context, allow=True)
    if not let_in and "sts:AssumeRole" in principal.actions:
        through = _trusts(role, account_names, principal.context, allow=True)
        allowed = False if through is False else both(through, principal.may("sts:AssumeRole", role.arn))
        let_in = _any((let_in, allowed))
    if let_in is False or principal.policies.decide("sts:AssumeRole", role.arn, principal.context) is Decision.EXPLICIT:
        return False
    # If a Deny names the account, it applies to all users and roles of the account.
    denied = _trusts(role, named | account_names, principal.context, allow=False)
    return both(let_in, None if denied is None else not denied)


def _trusts(role: Entity, names: Collection[str], context: RequestContext, *, allow: bool) -> bool | None:
    """Return whether a role's trust policy has an Allow statement that lets one of these principals assume the role.

    If `allow` is false, look for a Deny statement instead. Return None if the result is unknown.
    """
    return _any(
        holds(statement, context)
        for statement in statements(trust_text(role))
        if statement.allow is allow
        and covers_action(statement, "sts:AssumeRole")
        and any(kind == "AWS" and name in names for kind, name in statement.principals)
    )


def _any(answers: "Iterator[bool | None] | tuple[bool | None, ...]") -> bool | None:
    """Return the logical OR of answers, each of which may be None (unknown)."""
    unknown = False
    for answer in answers:
        if answer:
            return True
        unknown = unknown or answer is None
    return None if unknown else False
