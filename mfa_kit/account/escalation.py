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
from itertools import chain, count, product

from mfa_kit.account import escalation_rules as rules
from mfa_kit.account.evaluator import (
    WITH_MFA,
    Decision,
    EntityPolicies,
    IamStatement,
    RequestContext,
    about,
    administers,
    allows_everything,
    both,
    covers_action,
    entity_policies,
    evaluate,
    filled_resource,
    group_policies,
    holds,
    like,
    overlaps,
    policy_flaw,
    principals_let_in,
    saml_providers,
    statements,
    statements_about,
    trust_text,
)
from mfa_kit.account.snapshot import Entity, Snapshot

# If a resource in a policy ends with this text, it is the calling user, or a device of this user. Policies that let
# users manage their own credentials have such resources. Credentials of oneself are no path.
OWN = "/${aws:username}"
SERVICE_LINKED = ":role/aws-service-role/"
# The name of an inline policy with the text EVERYTHING in an entity that a step has changed.
ADDED = "(added)"
TAGS = ("aws:PrincipalTag/", "iam:ResourceTag/", "aws:ResourceTag/")
KINDS = ("User", "Role", "Group")
# The number of later steps that are printed, of new names that are tried for a user, group or role, and of states of
# users and roles that are tried for one start.
LATER_STEPS = 5
NEW_NAMES = 20
STATES = 200


@dataclass(frozen=True, slots=True)
class Administration:
    """Whether a user or role administers the account. `admin` is None if that is unknown.

    `how` names the path by which the user or role can become an administrator, such as `may create an access key for
    boss (iam:CreateAccessKey), ...`. It is "" if the user or role may write its own policies, or is no administrator.
    If `admin` is None, `how` names the path that cannot be evaluated, or is "". `how` ends at the first other
    administrator on the path, and `later` has the words for the steps after that, or says that not all steps were
    tried. `steps` has all steps.
    """

    admin: bool | None
    how: str = ""
    later: str = field(default="", compare=False)
    steps: tuple[rules.PathStep, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class _Path:
    """Steps to a user or role that administers the account by itself (`end`, an ARN), or after the steps (None).

    If `end` is "", not all steps were tried.
    """

    steps: tuple[rules.PathStep, ...] = ()
    end: str | None = None


@lru_cache(maxsize=8192)
def _reaching(document: str) -> frozenset[str]:
    """Return the actions in ACTIONS that a policy allows. For CREDENTIALS, the caller itself is no resource."""
    return frozenset(
        action
        for statement in statements(document)
        if statement.allow
        for action in _actions_of(statement)
        if action not in rules.CREDENTIALS
        or not (statement.resources and all(resource.endswith(OWN) for resource in statement.resources))
    )


@lru_cache(maxsize=8192)
def _reached(documents: tuple[str, ...]) -> frozenset[str]:
    return frozenset[str]().union(*map(_reaching, documents))


def _actions_of(statement: IamStatement) -> list[str]:
    """Return the actions in ACTIONS that a statement covers."""
    if statement.but_actions or any("*" in name or "?" in name for name in statement.actions):
        return [action for action in rules.ACTIONS if covers_action(statement, action)]
    return [rules.NAMES[name.lower()] for name in statement.actions if name.lower() in rules.NAMES]


@lru_cache(maxsize=8192)
def _denies(document: str) -> bool:
    """Return whether a policy has a Deny statement that can block a step. Requests have MFA."""
    return not policy_flaw(document) and any(
        not statement.allow and _actions_of(statement) and holds(statement, WITH_MFA) is not False
        for statement in statements(document)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Principal:
    """A user or role, perhaps after changes. `time` is that of its requests, in Unix seconds."""

    entity: Entity
    policies: EntityPolicies
    time: float

    @cached_property
    def context(self) -> RequestContext:
        """The condition keys of its requests with MFA."""
        return {**about(self.entity, self.time), **WITH_MFA}

    @cached_property
    def actions(self) -> frozenset[str]:
        """The actions in ACTIONS that an Allow statement has. Denies and the boundary are considered in `may`."""
        return _reached(self.policies.documents)

    def may(self, action: str, resource: str, context: RequestContext | None = None) -> bool | None:
        """Return whether the policies allow an action on a resource, or None if that is unknown.

        `context` has further condition keys of the request.
        """
        if action not in self.actions:
            return False
        decision = self.policies.decide(action, resource, {**self.context, **(context or {})})
        return None if decision is Decision.UNKNOWN else decision is Decision.ALLOW

    @cached_property
    def changes(self) -> bool:
        """Whether an Allow statement has an action that changes a user or role, or who may assume a role."""
        return not (rules.CHANGES.keys() | {"iam:UpdateAssumeRolePolicy"}).isdisjoint(self.actions)

    def may_change(
        self, action: str, target: Entity, *, policy: str = "", tags: Mapping[str, str] | None = None
    ) -> bool | None:
        """Return whether the policies allow an action on a user, group, role or policy, or None if that is unknown.

        `policy` is the ARN of the managed policy that the action attaches or detaches, or sets as the boundary. `tags`
        has the tags that it sets.
        """
        known: dict[str, str | None] = {
            f"{prefix}:ResourceTag/{name}": tag for name, tag in target.tags.items() for prefix in ("iam", "aws")
        }
        if _kind(target) in KINDS:
            known |= {"iam:PermissionsBoundary": target.boundary, "iam:ResourceTag/": None, "aws:ResourceTag/": None}
        if policy:
            known["iam:PermissionsBoundary" if action.endswith("Boundary") else "iam:PolicyARN"] = policy
        if tags:
            known |= {"aws:RequestTag/": None, **{f"aws:RequestTag/{name}": tag for name, tag in tags.items()}}
            known |= {"aws:TagKeys": next(iter(tags))} if len(tags) == 1 else {}
        return self.may(action, target.arn, known)

    def may_somewhere(self, action: str) -> bool | None:
        """Return whether the policies allow an action on at least one resource that they name, or None if unknown."""
        return _any(self.may(action, resource) for resource in self.named(action))

    def named(self, action: str) -> set[str]:
        """Return the resources, which may be patterns, that the Allow statements about an action name."""
        return {
            filled_resource(statement, resource, self.context)
            for document in self.policies.documents
            for statement in statements_about(document, action)
            if statement.allow
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
        self.policies = group_policies(snapshot.groups, snapshot.policies)
        roles = (role for role in snapshot.roles if SERVICE_LINKED not in role.arn)
        self.entities = {entity.arn: entity for entity in (*snapshot.users, *roles)}
        self.principals: dict[str, _Principal] = (
            known.principals
            if known
            else {entity.arn: self.principal(entity, self.policies) for entity in (*snapshot.users, *snapshot.roles)}
        )
        self.paths: dict[str, _Path] = dict(known.paths) if known else {}
        self.takers: dict[str, list[rules.PathStep]] = {}
        self.steps: dict[_Principal, list[rules.PathStep]] = {}

    def holds(self, answer: bool | None) -> bool:
        """Return an answer. An unknown one counts as `possible`."""
        self.doubts = self.doubts or answer is None
        return self.possible if answer is None else answer

    def principal(self, entity: Entity, groups: Mapping[str, EntityPolicies]) -> _Principal:
        """Return a user or role with its policies. `groups` has the policies of the groups by name."""
        policies = entity_policies(entity, self.snapshot.policies, groups)
        return _Principal(entity=entity, policies=policies, time=self.snapshot.at)

    def administers(self, principal: _Principal) -> bool:
        """Return whether a user or role administers the account without a further step."""
        if principal.actions.isdisjoint(f"iam:{verb}{_kind(principal.entity)}Policy" for verb in ("Attach", "Put")):
            return self.holds(None if principal.policies.unread else False)
        return self.holds(administers(principal.entity, principal.policies, principal.context))

    @cached_property
    def wholes(self) -> list[str]:
        """The ARNs of managed policies with which a user or role administers the account."""
        own = [arn for arn, text in self.snapshot.policies.items() if allows_everything(text)]
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
            if arn in self.paths
            or arn in self.trusted
            or not rules.RULES.keys().isdisjoint(self.principals[arn].actions)
        }

    @cached_property
    def worthwhile_groups(self) -> set[str]:
        """The names of the groups whose policies allow actions of a path, or could not be read."""
        return {name for name, policies in self.policies.items() if policies.unread or _reached(policies.documents)}

    @cached_property
    def wanted_tags(self) -> list[dict[str, str]]:
        """Sets of tags that Allow statements of trust policies and other policies demand of callers or targets.

        After these come unions, each of one set and all others that fit.
        """
        everyone = (*self.entities.values(), *self.groups.values())
        own = ((trust_text(entity), *entity.inline.values()) for entity in everyone)
        wanted = [
            {key.partition("/")[2]: values[0] for _, key, values in statement.lines if key.startswith(TAGS) and values}
            for text in dict.fromkeys(chain(self.snapshot.policies.values(), *own))
            if "Tag/" in text and not policy_flaw(text)
            for statement in statements(text)
            if statement.allow and _actions_of(statement)
        ]
        sets = [tags for tags in wanted if tags]
        unions = [rules.fitting_tags(tags, sets) for tags in sets]
        return list({frozenset(tags.items()): tags for tags in (*sets, *unions)}.values())

    def find_paths(self) -> dict[str, _Path]:
        """Return the paths, by the ARN of the user or role that they make an administrator.

        First come those that only take the credentials of other users and roles, from the administrators backwards.
        """
        others = [principal for arn, principal in self.principals.items() if arn not in self.paths]
        self.paths |= {other.entity.arn: _Path() for other in others if self.administers(other)}
        admins = list(self.paths)
        others = [other for other in others if other.entity.arn not in self.paths]
        for step in chain(*map(self.takes, others)):
            self.takers.setdefault(step.subject, []).append(step)
        self._go_back(admins, self.paths)
        starts = {other.entity.arn: _Path() for other in others if other.changes and other.entity.arn not in self.paths}
        self._go_back(list(starts), starts)
        self._search(reversed(starts))
        return self.paths

    def _search(self, starts: Iterable[str]) -> None:
        """Add the paths that begin with one of these users and roles, and change what somebody may do."""
        fruitless: set[str] = set()
        for arn in starts:
            if arn not in self.paths and arn not in fruitless:
                search = _Search(self, self.principals[arn])
                if path := search.run():
                    self._go_back(self._add_path(arn, path), self.paths)
                elif not search.cut:  # each of these can hold only what this one can hold
                    fruitless |= {held for held, _ in search.slots}
                elif self.holds(None):
                    self.paths[arn] = _Path(end="")
                    self._go_back([arn], self.paths)

    def _add_path(self, arn: str, path: _Path) -> list[str]:
        """Add a path, and those of the users and roles on it that begin at a later step. Return their ARNs."""
        added = []
        while arn not in self.paths:
            self.paths[arn] = path
            added.append(arn)
            first, *rest = path.steps
            taken = first.actions[0] in rules.TAKING and first.subject in self.principals
            if rest and taken and all(step.caller != arn for step in rest):
                self.paths[arn] = _Path((first,), first.subject)
                arn, path = first.subject, _Path(tuple(rest), path.end)
        return added

    def _go_back(self, ends: Iterable[str], paths: dict[str, _Path]) -> None:
        """Add to `paths` the users and roles that can take the credentials of `ends`, directly or not."""
        todo = deque(ends)
        while todo:
            end = todo.popleft()
            for step in self.takers.get(end, ()):
                if step.caller not in paths:
                    paths[step.caller] = _Path((step,), end)
                    todo.append(step.caller)

    def takes(self, caller: _Principal) -> list[rules.PathStep]:
        """Return the steps by which a caller can take the credentials of worthwhile users and roles."""
        if caller not in self.steps:
            candidates = {entity.arn: entity for entity in self._candidates(caller)}
            candidates.pop(caller.entity.arn, None)
            steps = (self.take(caller, candidates[arn]) for arn in candidates if arn in self.worthwhile)
            self.steps[caller] = [step for step in steps if step]
        return self.steps[caller]

    def _candidates(self, caller: _Principal) -> Iterator[Entity]:
        """Yield the users and roles that policies name as those whose credentials a caller can take."""
        for action in [action for action in rules.TAKING if action in caller.actions]:
            yield from caller.among(action, self.worthwhile)
        for name in (caller.entity.arn, "*"):
            yield from self.trusted.get(name, ())
        if "iam:UpdateSAMLProvider" in caller.actions:
            yield from (role for role in self.worthwhile.values() if ":saml-provider/" in (role.trust or ""))

    def take(self, caller: _Principal, target: Entity) -> rules.PathStep | None:
        """Return the step by which a caller can take the credentials of a user or role, or None if there is none."""
        ways = self._ways_into(caller, target) if ":role/" in target.arn else self._keys_of(caller, target)
        return next((step for answer, step in ways if self.holds(answer)), None)

    def _keys_of(self, caller: _Principal, user: Entity) -> Iterator[tuple[bool | None, rules.PathStep]]:
        """Yield the steps that give a user's credentials, each with whether the caller may carry it out."""
        row = self.snapshot.report.users.get(user.name) if self.snapshot.report else None
        password = f"iam:{'Update' if row and row.password else 'Create'}LoginProfile"
        for action in ("iam:CreateAccessKey", password):
            yield caller.may_change(action, user), _step(caller, action, user)

    def _ways_into(self, caller: _Principal, role: Entity) -> Iterator[tuple[bool | None, rules.PathStep]]:
        """Yield the steps that give a role's credentials, each with whether the caller may carry it out."""
        if SERVICE_LINKED in role.arn:
            return
        yield _may_assume(caller, role, self.snapshot), _step(caller, "sts:AssumeRole", role)
        if caller.policies.decide("sts:AssumeRole", role.arn, caller.context) is not Decision.EXPLICIT:
            change = "iam:UpdateAssumeRolePolicy"
            yield caller.may_change(change, role), _step(caller, change, role)
        if (sign_in := "iam:UpdateSAMLProvider") in caller.actions:
            answer = _any(caller.may(sign_in, provider) for provider in saml_providers(role))
            yield answer, _step(caller, sign_in, role)
        if "iam:PassRole" in caller.actions:
            yield from _passes(caller, role)


def _passes(caller: _Principal, role: Entity) -> Iterator[tuple[bool | None, rules.PathStep]]:
    """Yield the steps that pass a role to a service, each with whether the caller may carry it out."""
    let_in = principals_let_in(trust_text(role), {})
    for name in sorted({rules.REGION.sub(".", name) for kind, name in let_in if kind == "Service"}):
        passes = caller.may("iam:PassRole", role.arn, {"iam:PassedToService": name})
        for actions, source in (
            rules.SERVICES.get(rules.DOMAIN.sub("", name), {}).items() if passes is not False else ()
        ):
            step = replace(
                _step(caller, "iam:PassRole", role), actions=("iam:PassRole", *actions), source=rules.source_url(source)
            )
            yield both(passes, *map(caller.may_somewhere, actions)), step


def _step(
    caller: _Principal, action: str, target: Entity, *, subject: Entity | None = None, rule: str = ""
) -> rules.PathStep:
    """Return the step that carries out an action. Its words are those of `rule`, or else those of the action.

    `subject` is the target, if it is not given.
    """
    words, source = rules.RULES[rule or action]
    subject = subject or target
    own, _, of_another = words.partition("|")
    kind = target.arn.rpartition(":")[2].partition("/")[0]
    return rules.PathStep(
        caller=caller.entity.arn,
        actions=(action,),
        target=target.arn,
        subject=subject.arn,
        words=own if subject.arn == caller.entity.arn else (of_another or own).replace("{user}", subject.name),
        name=target.name if kind == "user" else f"{kind} {target.name}",
        source=rules.source_url(source),
    )


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of a user or role by an action on a target. `after` is the user or role after the change.

    `policies` has the ARNs of managed policies, one of which the action attaches, detaches or sets as the boundary.
    `adds` is true if the change only adds rights, and `known` is None if its effect is unknown. `rule` is the row of
    RULES with the words, or "" for that of the action.
    """

    action: str
    target: Entity
    after: Entity
    policies: Collection[str] = ("",)
    adds: bool = True
    known: bool | None = True
    rule: str = ""

    def allowed_to(self, caller: _Principal) -> bool | None:
        """Return whether a caller may make the change, or None if that is unknown."""
        tags = dict(self.after.tags.items() - self.target.tags.items()) if "iam:Tag" in self.action else None
        answers = (caller.may_change(self.action, self.target, policy=policy, tags=tags) for policy in self.policies)
        return both(_any(answers), self.known) if self.action in caller.actions else False


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A user or role whose credentials are held after the steps.

    A change that only adds rights keeps the slot, and replaces what was in it.
    """

    principal: _Principal
    steps: tuple[rules.PathStep, ...]
    slot: tuple[str, int] = ("", 0)
    before: "_Held | None" = None


class _Search:
    """The search for a path of one user or role: the credentials that it can hold, until one administers the account.

    `targets` has users and roles, by ARN, whose credentials are worth taking because a held one can change them.
    `groups` and `policies` have the groups and their policies by name, and `writable` the names of the groups whose
    policies a held one can change. `made` has the steps by which a target or group was made, by ARN. `cut` is true if
    there were more than STATES states.
    """

    def __init__(self, account: _Account, start: _Principal) -> None:
        self.account = account
        self.start = start
        self.groups, self.policies = dict(account.groups), dict(account.policies)
        self.writable: set[str] = set()
        self.targets: dict[str, Entity] = {}
        self.made: dict[str, tuple[rules.PathStep, ...]] = {}
        self.slots: dict[tuple[str, int], _Held] = {}
        self.known: set[object] = set()
        self.cut = False
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
        sets = (entity.inline.items(), entity.attached, entity.groups, entity.tags.items())
        rights = (entity.boundary, *map(frozenset, sets))
        if (entity.arn, rights) in self.known or self.slots.get(held.slot, held.before) is not held.before:
            return False
        if held.slot not in self.slots and len([number for _, number in self.slots if number]) >= STATES:
            self.cut = True
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
            yield from self._taken_by_one_of(callers, target)
        others = callers if len(self.writable) > writable else [held]
        for caller in [caller for caller in callers if caller.principal.changes]:
            for other in callers if caller is held else others:
                if other is caller or other.slot[0] != caller.slot[0]:  # nobody changes an earlier state of oneself
                    yield from self._changed(caller, other)

    def _taken_by_one_of(self, callers: Iterable[_Held], target: Entity) -> Iterable[_Held]:
        steps = ((caller, self.account.take(caller.principal, target)) for caller in callers)
        return next((self._taken(caller, step) for caller, step in steps if step), ())

    def _taken(self, caller: _Held, step: rules.PathStep) -> Iterator[_Held]:
        if (arn := step.subject, 0) not in self.slots:
            principal = self.account.principals.get(arn) or self.account.principal(self.targets[arn], self.policies)
            yield _Held(principal, _joined(caller.steps, self.made.get(arn, ()), (step,)), (arn, 0))

    def _changed(self, caller: _Held, held: _Held) -> Iterator[_Held]:
        """Yield a held user or role after each change that a caller can make. The change comes before its use."""
        entity = held.principal.entity
        last = held.steps[-1:]
        late = last and last[0].subject == entity.arn != caller.slot[0] and last[0] not in caller.steps
        first, after = (held.steps[:-1], last) if late else (held.steps, ())
        for change in self._changes(caller.principal, entity):
            if self.account.holds(change.allowed_to(caller.principal)):
                step = _step(caller.principal, change.action, change.target, subject=entity, rule=change.rule)
                steps = _joined(first, caller.steps, self.made.get(step.target, ()), (step,), after)
                slot = held.slot if change.adds else (entity.arn, next(self.variants))
                yield _Held(self.account.principal(change.after, self.policies), steps, slot, held)

    def _changes(self, caller: _Principal, entity: Entity) -> Iterator[_Change]:
        """Yield the changes of a user or role that can help. The caller may not be allowed to make them."""
        holders = [entity, *(self.groups[name] for name in entity.groups if name in self.groups)]
        if ADDED not in entity.inline:
            yield from self._writes(entity, holders)
            yield from self._joins(caller, entity) if _kind(entity) == "User" else ()
        for holder in holders:
            yield from self._versions(entity, holder)
            yield from self._removals(entity, holder)
        yield from self._lifts(entity)
        before = self.account.entities.get(entity.arn)
        if (action := f"iam:Tag{_kind(entity)}") in caller.actions and entity.tags == (before.tags if before else {}):
            for tags in self.account.wanted_tags:
                if not tags.items() <= entity.tags.items():
                    yield _Change(action, entity, replace(entity, tags={**entity.tags, **tags}), adds=False)

    def _writes(self, entity: Entity, holders: Iterable[Entity]) -> Iterator[_Change]:
        """Yield the changes by a new policy of a user or role, or of a group that the user is in."""
        written = replace(entity, inline={**entity.inline, ADDED: rules.EVERYTHING})
        for holder, verb in product(holders, ("Attach", "Put")):
            policies = self.account.wholes if verb == "Attach" else ("",)
            yield _Change(f"iam:{verb}{_kind(holder)}Policy", holder, written, policies)

    def _joins(self, caller: _Principal, user: Entity) -> Iterator[_Change]:
        """Yield the changes by membership in another group."""
        worthwhile = self.account.worthwhile_groups | self.writable
        pool = {group.arn: group for name, group in self.groups.items() if name in worthwhile}
        for group in caller.among("iam:AddUserToGroup", pool):
            if group.name not in user.groups:
                has = self.account.principal(user, self.policies).policies.documents
                adds = not any(text not in has and _denies(text) for text in self.policies[group.name].documents)
                member = replace(user, groups=(*user.groups, group.name))
                yield _Change("iam:AddUserToGroup", group, member, adds=adds)

    def _versions(self, entity: Entity, holder: Entity) -> Iterator[_Change]:
        """Yield the changes by a new default version, written or chosen, of a managed policy."""
        for arn in holder.attached:
            if ":iam::aws:" not in arn:
                policy, others = _policy(arn), _without(entity, holder, arn)
                written = replace(others, inline={**others.inline, ADDED: rules.EVERYTHING})
                yield _Change("iam:CreatePolicyVersion", policy, written)
                versions = self.account.snapshot.other_versions.get(arn)
                for text in (rules.EVERYTHING,) if versions is None else versions:
                    chosen = replace(others, inline={**others.inline, arn: text})
                    known = None if versions is None else True
                    yield _Change("iam:SetDefaultPolicyVersion", policy, chosen, adds=False, known=known)

    def _removals(self, entity: Entity, holder: Entity) -> Iterator[_Change]:
        """Yield the changes by the removal of a policy with a Deny, or of the user from a group with such a policy."""
        managed = self.account.snapshot.policies
        texts = {**holder.inline, **{arn: managed[arn] for arn in holder.attached if arn in managed}}
        denies = [name for name, text in texts.items() if _denies(text)]
        for name in denies:
            verb, arn = ("Detach", name) if name in holder.attached else ("Delete", "")
            adds = not any(statement.allow for statement in statements(texts[name]))
            yield _Change(f"iam:{verb}{_kind(holder)}Policy", holder, _without(entity, holder, name), (arn,), adds)
        if denies and holder is not entity:
            left = replace(entity, groups=tuple(name for name in entity.groups if name != holder.name))
            yield _Change("iam:RemoveUserFromGroup", holder, left, adds=False)

    def _lifts(self, entity: Entity) -> Iterator[_Change]:
        """Yield the changes by the removal, replacement or rewriting of the permissions boundary."""
        if entity.boundary is not None:
            lifted, action = replace(entity, boundary=None), f"iam:{{}}{_kind(entity)}PermissionsBoundary"
            yield _Change(action.format("Delete"), entity, lifted)
            yield _Change(action.format("Put"), entity, lifted, self.account.wholes)
            if ":iam::aws:" not in entity.boundary:
                policy, rule = _policy(entity.boundary), action.format("Put")
                yield _Change("iam:CreatePolicyVersion", policy, lifted, rule=rule)
                versions = self.account.snapshot.other_versions.get(policy.arn)
                if versions is None or any(map(allows_everything, versions)):
                    known = None if versions is None else True
                    yield _Change("iam:SetDefaultPolicyVersion", policy, lifted, known=known, rule=rule)

    def _add_targets(self, held: _Held) -> None:
        """Add the users and roles that a held one can change, and those that it can make."""
        if not held.principal.changes:
            return
        for kind in KINDS:
            self._make(held, kind)
        changed = list(self._changed_by(held.principal))
        self.writable |= {entity.name for entity in changed if _kind(entity) == "Group"}
        members = (user for user in self.account.snapshot.users if not self.writable.isdisjoint(user.groups))
        for entity in chain(changed, members):
            if _kind(entity) != "Group":
                self.targets.setdefault(entity.arn, entity)
        self._open(held)
        self._tag(held)
        if "iam:AddUserToGroup" in held.principal.actions:
            self._add_member()

    def _changed_by(self, caller: _Principal) -> Iterator[Entity]:
        """Yield the users, groups and roles whose policies a caller can change."""
        holders = self.account.holders
        policies = {arn: _policy(arn) for arn in holders}
        for action in ("iam:CreatePolicyVersion", "iam:SetDefaultPolicyVersion"):
            for policy in caller.among(action, policies):
                yield from holders[policy.arn]
        everyone = (*self.account.entities.values(), *self.groups.values())
        for kind, verb in product(KINDS, ("Attach", "Put")):
            if (action := f"iam:{verb}{kind}Policy") in caller.actions:
                yield from caller.among(action, {entity.arn: entity for entity in everyone if _kind(entity) == kind})

    def _open(self, held: _Held) -> None:
        """Add the roles that a held one cannot take, although it can change who may assume them."""
        action, account = "iam:UpdateAssumeRolePolicy", self.account
        for role in held.principal.among(action, account.entities):
            refused = role.arn not in self.made and account.take(held.principal, role) is None
            if refused and account.holds(held.principal.may_change(action, role)):
                self.targets[role.arn] = replace(role, trust=rules.OPEN)
                self.made[role.arn] = (*held.steps, _step(held.principal, action, role))

    def _tag(self, held: _Held) -> None:
        """Add the users and roles that a held one can take only after it has tagged them."""
        caller, account = held.principal, self.account
        for action in ("iam:TagUser", "iam:TagRole"):
            for entity in caller.among(action, account.worthwhile) if account.wanted_tags else ():
                if entity.arn in self.targets or action != f"iam:Tag{_kind(entity)}" or account.take(caller, entity):
                    continue
                for tags in account.wanted_tags:
                    tagged = replace(entity, tags={**entity.tags, **tags})
                    change = _Change(action, entity, tagged)
                    if account.holds(change.allowed_to(caller)) and account.take(caller, tagged):
                        self.targets[entity.arn] = tagged
                        self.made[entity.arn] = (*held.steps, _step(caller, action, entity))

    def _add_member(self) -> None:
        """Add a user that can join groups, if none is held: the first whose credentials can be taken."""
        callers = [held.principal for held in self.slots.values()]
        if not any(_kind(caller.entity) == "User" and caller.entity.boundary is None for caller in callers):
            users = (user for user in self.account.snapshot.users if user.boundary is None)
            user = next((user for user in users if any(self.account.take(caller, user) for caller in callers)), None)
            self.targets |= {user.arn: user} if user else {}

    def _make(self, held: _Held, kind: str) -> None:
        """Add a new user, role or group with each kind of name for which the held ones have rights."""
        action = f"iam:Create{kind}"
        for arn in self._new_names(held.principal, kind) if action in held.principal.actions else ():
            bare = Entity(name=arn.rpartition("/")[2], arn=arn, trust=rules.OPEN if kind == "Role" else None)
            if bare.name in self.groups:
                continue
            limits = (None, *self.account.wholes) if kind != "Group" else (None,)  # some rights demand a boundary
            new = (replace(bare, boundary=limit) for limit in limits)
            if entity := next((one for one in new if self.account.holds(held.principal.may_change(action, one))), None):
                self._add_made(entity, (*held.steps, _step(held.principal, action, entity)))

    def _add_made(self, entity: Entity, steps: tuple[rules.PathStep, ...]) -> None:
        self.made[entity.arn] = steps
        if _kind(entity) == "Group":
            self.groups[entity.name] = entity
            self.policies |= group_policies([entity], {})
        else:
            self.targets[entity.arn] = entity

    def _new_names(self, caller: _Principal, kind: str) -> list[str]:
        """Return new ARNs that match patterns by which a caller may create, and the held ones may use, an entity."""
        snapshot = self.account.snapshot
        names = {f"arn:{snapshot.partition}:iam::{snapshot.account}:{kind.lower()}/*"}
        names = overlaps(names, caller.named(f"iam:Create{kind}"))
        uses = [use for use in rules.RULES if kind in use or use in rules.TAKING]
        for pattern in sorted(
            {name for held in self.slots.values() for use in uses for name in held.principal.named(use)}
        ):
            if len(names) < NEW_NAMES:
                names |= overlaps(names, [pattern])
        new = {name.replace("*", "new").replace("?", "n") for name in names}
        return sorted(new - self.made.keys() - self.account.entities.keys())


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


def _joined(*steps: tuple[rules.PathStep, ...]) -> tuple[rules.PathStep, ...]:
    return tuple(dict.fromkeys(chain(*steps)))


def administrations(snapshot: Snapshot) -> dict[str, Administration]:
    """Return for each user and role, by ARN, whether it administers the account."""
    account = _Account(snapshot)
    sure = account.find_paths()
    possible = _Account(snapshot, account).find_paths() if account.doubts else sure
    return {arn: _administration(arn, possible, sure) for arn in account.principals}


def _administration(arn: str, paths: Mapping[str, _Path], sure: Mapping[str, _Path]) -> Administration:
    if arn not in paths:
        return Administration(False)
    path, admin = paths[arn], True if arn in sure else None
    later: list[rules.PathStep] = []
    end = path.end
    while end:
        later += paths[end].steps
        end = paths[end].end
    how = (
        f"may {rules.path_words(path.steps, arn)}{_ending(path, certain=(path.end or arn) in sure)}"
        if path.steps
        else ""
    )
    unnamed = f" and {len(later) - LATER_STEPS} more" if len(later) > LATER_STEPS else rules.MANY * (path.end == "")
    return Administration(admin, how, rules.path_words(later[:LATER_STEPS], arn) + unnamed, (*path.steps, *later))


def _ending(path: _Path, *, certain: bool) -> str:
    """Return the words that say that the last target of a path administers the account, if that is so."""
    last = path.steps[-1]
    verb = "administers" if certain else "may administer"
    if path.end or last.actions == ("iam:AddUserToGroup",):
        return f", {'who' if ':user/' in last.target else 'which'} {verb} the account"
    # Whoever gets a new policy administers the account; else say so.
    written = any(step.words.startswith(("change", "write")) for step in path.steps)
    return "" if written else f", and then {verb} the account"


def _may_assume(principal: _Principal, role: Entity, snapshot: Snapshot) -> bool | None:
    """Return whether a principal may assume a role, or None if that is unknown.

    If the trust policy names the principal, the principal's own policies need not allow it, nor does the boundary of a
    user. If the trust policy names the account, they must (IAM user guide, "Policy evaluation logic", for requests
    within an account, and "Permissions boundaries for IAM entities").
    """
    number = snapshot.account
    account_names = {number, f"arn:{snapshot.partition}:iam::{number}:root"}
    named = {"*", principal.entity.arn}
    let_in = _trusts(role, named, principal.context, allow=True)
    boundary = principal.policies.boundary if _kind(principal.entity) == "Role" else None
    if boundary is not None:
        limit = evaluate((boundary,), "sts:AssumeRole", role.arn, principal.context)
        let_in = both(let_in, None if limit is Decision.UNKNOWN else limit is Decision.ALLOW)
    if not let_in and "sts:AssumeRole" in principal.actions:
        through = _trusts(role, account_names, principal.context, allow=True)
        allowed = False if through is False else both(through, principal.may_change("sts:AssumeRole", role))
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
