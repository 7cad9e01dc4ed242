"""Whether a plan fits: IAM's limit of devices per user, the account's quota, and the users' own policies.

The highest moment of a plan counts. With `replace`, the new device exists before the old one goes, so a user has both
until `rollout finish` removes the old one.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from mfa_kit.account.evaluator import WITH_MFA, Decision, EntityPolicies, about, entity_policies, group_policies
from mfa_kit.account.reading import AccountSource, join_details
from mfa_kit.account.snapshot import VIRTUAL_QUOTA, Details, Entity, virtual_quota
from mfa_kit.core.errors import AccessDenied, UsageFault
from mfa_kit.core.interaction import Progress
from mfa_kit.core.message import Message, clauses, mfa_kit, suggest
from mfa_kit.core.text import count_of, few
from mfa_kit.enrollment.planning import MAX_DEVICES
from mfa_kit.rollout.plan import Action, Plan, PlanStep

# The actions on a virtual device that users need to manage it themselves. The other actions name the user instead
# (Service Authorization Reference, IAM).
OWN_DEVICE = ("iam:CreateVirtualMFADevice", "iam:DeleteVirtualMFADevice")
# The maximum number of users in a message.
SHOWN = 20
DENIED = {Decision.EXPLICIT, Decision.IMPLICIT}


def fit_plan(plan: Plan, holders: Mapping[str, str | None], *, account: AccountSource, progress: Progress) -> Plan:
    """Return the plan with the rows blocked for which a user has no room.

    Raise UsageFault if the account's quota has no room for the new virtual devices. Print which users cannot manage
    their new device themselves. `holders` has the user of each virtual device by serial; None for an unassigned device.
    The account is asked only if rows add or replace devices, or if there are more devices than the default quota.
    """
    plan = replace(plan, steps=block_overfull(plan.steps))
    new = new_virtual(plan.steps)
    if any(step.row.is_further for step in new) or (new and len(holders) + len(new) > VIRTUAL_QUOTA):
        try:
            quota = virtual_quota(account.summary())
        except AccessDenied as error:
            progress.alert(
                f"cannot check whether the account's quota has room for {count_of(len(new), 'device')}: {error}"
            )
        else:
            check_quota(new, holders, quota=quota)
    further = [step for step in new if step.row.is_further and step.row.name != step.user]
    if further:
        _note_own_names(further, plan, account=account, progress=progress)
    return plan


def _keys(steps: Sequence[PlanStep]) -> Iterator[Sequence[PlanStep]]:
    """Yield the steps, in order: the two halves of a pair together, and every other step alone."""
    number = 0
    while number < len(steps):
        key = steps[number : number + 2]
        size = 2 if len({step.user for step in key}) == 1 and all(step.row.pair for step in key) else 1
        yield key[:size]
        number += size


def block_overfull(steps: Sequence[PlanStep]) -> list[PlanStep]:
    """Return the steps. Those with which a user would have more devices than IAM allows are blocked.

    If there is room for one half of a pair only, both halves are blocked.
    """
    checked: list[PlanStep] = []
    new: Counter[str] = Counter()
    for key in _keys(steps):
        making = [step for step in key if step.makes_device]
        user = key[0].user
        count = len(key[0].devices) + new[user] + len(making)
        if making and count > MAX_DEVICES:
            checked += [_overfull(step, count) if step in making else step for step in key]
        else:
            new[user] += len(making)
            checked += key
    return checked


def _overfull(step: PlanStep, count: int) -> PlanStep:
    reason = Message(
        f"the user would have {count} MFA devices until the end of the rollout, and IAM allows {MAX_DEVICES}; "
        "remove an unused one first",
        mfa_kit("revoke {} --mfa-device NAME", step.user),
    )
    return replace(step, action=Action.BLOCKED, reason=reason, repair=False)


def new_virtual(steps: Iterable[PlanStep]) -> list[PlanStep]:
    """Return the steps that create a virtual device. A half-made device that is repaired exists already."""
    return [step for step in steps if step.action in {Action.ENROLL, Action.STATION} and step.row.kind.is_virtual]


def check_quota(new: Sequence[PlanStep], holders: Mapping[str, str | None], *, quota: int) -> None:
    """Raise UsageFault if the quota of virtual devices has no room for those of the steps `new`.

    `holders` has the virtual devices that exist; the unassigned ones count too.
    """
    room = max(quota - len(holders), 0)
    if len(new) <= room:
        return
    unassigned = sum(user is None for user in holders.values())
    fitting = f"the account has room for {room or 'none'} of {count_of(len(new), 'row')} with new virtual devices"
    batches = f"plan them in batches of {room}, with --only or a smaller roster" if room else ""
    finish = suggest("more fit after the old devices are removed", "rollout finish PLAN")
    clean = suggest("delete the unassigned devices that are not needed", "orphans clean")
    raise UsageFault(
        f"{fitting}: {len(holders)} of at most {quota} virtual devices exist, {unassigned} of them unassigned",
        clauses(
            [
                batches,
                finish if any(step.replaces for step in new) else "",
                clean if unassigned else "",
                "or request a higher quota of users, which limits devices too: AWS console, Service Quotas, IAM",
            ]
        ),
    )


def _note_own_names(further: Sequence[PlanStep], plan: Plan, *, account: AccountSource, progress: Progress) -> None:
    """Print which users' policies allow them to manage a device named after them, but not their device in `further`."""
    try:
        details = join_details([*account.details()])
    except AccessDenied as error:
        progress.alert(f"not checked whether the users' own policies allow them to manage their new devices: {error}")
        return
    limited, unknown = limited_to_own_name(further, plan, details)
    if limited:
        progress.alert(
            f"{count_of(len(limited), 'user')} may manage only a device named after them (mfa/${{aws:username}}), so "
            f"an administrator has to manage the new device: {few(limited, SHOWN)}"
        )
    if unknown:
        progress.alert(
            f"unknown whether the policies of {count_of(len(unknown), 'user')} allow them to manage their new device: "
            f"{few(unknown, SHOWN)}"
        )


def limited_to_own_name(further: Sequence[PlanStep], plan: Plan, details: Details) -> tuple[list[str], list[str]]:
    """Return the users who may manage a virtual device named after them, but not the one of their step in `further`.

    The second list has the users for whom this is unknown. The policies in `details` are evaluated for requests with
    MFA, because these users have a device.
    """
    groups = group_policies(details.groups, details.policies)
    users = {user.name: user for user in details.users}
    limited: dict[str, None] = {}
    unknown: dict[str, None] = {}
    for step in further:
        user = users.get(step.user)
        policies = entity_policies(user, details.policies, groups) if user else None
        answer = _is_limited(user, policies, step, plan) if user and policies else None
        if answer is not False:
            (unknown if answer is None else limited)[step.user] = None
    return [*limited], [name for name in unknown if name not in limited]


def _is_limited(user: Entity, policies: EntityPolicies, step: PlanStep, plan: Plan) -> bool | None:
    context = {**about(user, plan.planned_at), **WITH_MFA}
    new = plan.intent_of(step.row).serial
    own = f"{new.partition(':mfa/')[0]}:mfa/{step.user}"
    answers = [(policies.decide(action, own, context), policies.decide(action, new, context)) for action in OWN_DEVICE]
    if any(before is Decision.ALLOW and after in DENIED for before, after in answers) and not policies.unread:
        return True
    return None if policies.unread or Decision.UNKNOWN in chain.from_iterable(answers) else False
