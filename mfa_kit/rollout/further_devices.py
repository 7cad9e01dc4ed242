"""Rows that give a user one more device, or exchange one: the devices' names, the halves of a pair, the old device.

A row of the kind `pair` becomes two steps of a plan, one for each half of the key: first OATH, then FIDO, because a
person registers the FIDO half in the console. Everything after the plan sees two ordinary rows.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import Device, DeviceType
from mfa_kit.core.text import few
from mfa_kit.enrollment.planning import device_names
from mfa_kit.rollout.plan import Action, Plan, PlanStep
from mfa_kit.rollout.roster import SECOND, RosterAction, RosterRow, half_names

# The last part of a security key's ARN: its name, and the ID that IAM appends.
NAME_AND_ID = re.compile(r"(.+)-[A-Z0-9]{20,}")


def expand_rows(rows: Iterable[RosterRow]) -> list[RosterRow]:
    """Return the rows with a name for each further device, and with two rows for each pair.

    A user's further devices are named USER-key, USER-key-2 and so on, in the order of the rows. Names of devices that a
    row of the user replaces are passed over, even if IAM has them no longer. The names do not depend on the devices in
    IAM, so a second plan of the same roster finds the devices of the first. Raise UsageFault for a row whose device
    would have the name of a device that is replaced.
    """
    rows = [*rows]
    replaced: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        replaced[row.user.lower()] |= _names_of_replaced(row)
    numbers: Counter[str] = Counter()
    return [new for row in rows for new in _expand_row(row, numbers, replaced[row.user.lower()])]


def _names_of_replaced(row: RosterRow) -> set[str]:
    """Return the values that select the device in a row's `replaces`, in lower case, because IAM ignores the case."""
    if not row.replaces:
        return set()
    names = device_names(Device(row.replaces, row.user))
    names |= {match[1] for name in names if (match := NAME_AND_ID.fullmatch(name))}
    return {name.lower() for name in names}


def _expand_row(row: RosterRow, numbers: Counter[str], replaced: set[str]) -> list[RosterRow]:
    """Return a row with its name, as one row or as two. `numbers` has the last number of each user's default names."""
    name, user = row.name or "", row.user.lower()
    if row.kind.halves or row.action is not RosterAction.ENROLL:
        number = numbers[user] + 1
        while not name and {new.lower() for new in _names_of_new(row, _number_name(row, number))} & replaced:
            number += 1
        name = name or _number_name(row, number)
        numbers[user] = number - 1 + (len(row.kind.halves) or 1)
    if taken := [new for new in _names_of_new(row, name) if new.lower() in replaced]:
        raise UsageFault(
            f"the new device {taken[0]} of {row.user} would have the name of a device that a row replaces",
            "correct the column device_name, or leave it empty",
        )
    if not row.kind.halves:
        return [replace(row, name=name or None)]
    return [
        replace(row, kind=kind, pair=True, name=half)
        for kind, half in zip(row.kind.halves, _names_of_new(row, name), strict=True)
    ]


def _number_name(row: RosterRow, number: int) -> str:
    return f"{row.user}-key{f'-{number}' if number > 1 else ''}"


def _names_of_new(row: RosterRow, name: str) -> list[str]:
    return [name, name + SECOND] if row.kind.halves else [name]


def find_old_devices(plan: Plan, rows: Sequence[RosterRow], has: Mapping[str, tuple[str, ...]]) -> list[RosterRow]:
    """Return the rows that replace a device with the serial of this device, if exactly one can be meant.

    `has` are the serials of each user's devices. A device that another row of the user makes is not an old one.
    """
    new: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        new[row.user].update(plan.devices_of(row, has.get(row.user, ())) if row.is_further else ())
    return [
        replace(row, replaces=old) if (old := _find_old(row, set(has.get(row.user, ())) - new[row.user])) else row
        for row in rows
    ]


def _find_old(row: RosterRow, serials: Iterable[str]) -> str | None:
    if row.action is not RosterAction.REPLACE:
        return None
    meant = [s for s in serials if row.replaces is None or row.replaces in device_names(Device(s, row.user))]
    return meant[0] if len(meant) == 1 else None


def why_not_replaced(row: RosterRow, has: tuple[str, ...]) -> str:
    """Return why the old device of a row cannot be found, or "". `row` is from `find_old_devices`."""
    if row.action is not RosterAction.REPLACE or row.replaces in has:
        return ""
    if not has:
        return "there is no device to replace; write the action enroll"
    if row.replaces:
        return f"has no device {row.replaces} to replace, but {few(has)}; correct the column replaces"
    return f"has {few(has)}; name the device to replace in the column replaces"


def block_second_replacements(steps: Iterable[PlanStep]) -> list[PlanStep]:
    """Return the steps, of which those that replace a device that an earlier row replaces are blocked."""
    first: dict[str, RosterRow] = {}
    return [_blocked_if_second(step, first) for step in steps]


def block_second_names(steps: Iterable[PlanStep], plan: Plan) -> list[PlanStep]:
    """Return the steps, of which those whose device name an earlier row has are blocked.

    The users of an account share the names of virtual devices.
    """
    users: dict[str, str] = {}
    checked: list[PlanStep] = []
    for step in steps:
        serial = plan.intent_of(step.row).serial
        if DeviceType.of(serial) is not DeviceType.VIRTUAL or step.action not in {Action.ENROLL, Action.STATION}:
            checked.append(step)
            continue
        user = users.setdefault(serial, step.key)
        reason = f"another row, of {user.partition('/')[0]}, has this device name too; correct the column device_name"
        checked.append(step if user == step.key else replace(step, action=Action.BLOCKED, reason=reason))
    return checked


def block_keys_without_sign_in(steps: Sequence[PlanStep]) -> list[PlanStep]:
    """Return the steps. Block security keys by post for users who could not sign in to register them.

    Such a user has no other device that stays.
    """
    replaced = {step.replaces for step in steps}
    reason = (
        "users register a security key that comes by post themselves, and this user has no other device that stays, "
        "to sign in with; write the delivery desk, or the action add"
    )
    half = "the FIDO half of the pair is not possible, and the old device stays: "
    return [
        replace(step, action=Action.BLOCKED, reason=f"{half if step.row.pair else ''}{reason}")
        if step.row.registered_by_user and step.action is Action.SELF and not {*step.devices} - replaced
        else step
        for step in steps
    ]


def _blocked_if_second(step: PlanStep, first: dict[str, RosterRow]) -> PlanStep:
    if not step.replaces or step.action is Action.BLOCKED:
        return step
    earlier = first.setdefault(step.replaces, step.row)
    if earlier is step.row or (step.row.pair and earlier.pair and half_names(step.row) == half_names(earlier)):
        return step
    reason = f"another row already replaces {step.replaces}; write the action add"
    return replace(step, action=Action.BLOCKED, reason=reason, row=replace(step.row, replaces=None))
