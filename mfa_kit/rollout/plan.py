"""A plan: the difference between a roster and IAM on one day, to be read by people first and applied afterwards."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import STAGED_TAG, VIRTUAL, Caller, Device, Intent, Mark, Reached
from mfa_kit.enrollment.ports import Desk
from mfa_kit.enrollment.recovery import delete_command
from mfa_kit.rollout import roster
from mfa_kit.rollout.roster import How, Person, Row

SCHEMA = "mfa-kit/rollout-plan"
VERSION = 1
WORKERS = 8
# For the expected time: what a call to the real service takes from a command line, as others recorded it.
CALL_SECONDS = 0.7
PAGE = 1000


class Action(StrEnum):
    """What becomes of a row."""

    ENROLL = "enroll"
    STATION = "bench"  # the word of plan files and counts
    SELF = "self"
    STAGED = "staged"
    SKIP = "skip"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One row of a plan. `repair`: a dead run of this desk has left the device, and is settled first.

    `key_before` is the fingerprint of the user's public key when he was last given a device here, where it was another.
    """

    row: Row
    action: Action
    reason: str = ""
    devices: tuple[str, ...] = ()
    repair: bool = False
    key_before: str = ""

    @property
    def user(self) -> str:
        return self.row.user

    @property
    def makes(self) -> bool:
        """Whether `apply` makes a device, perhaps after a repair."""
        return self.row.kind.unattended and self.open

    @property
    def open(self) -> bool:
        """Whether a device is yet to be made: by `apply`, or at a desk."""
        return self.action in {Action.ENROLL, Action.STATION} or self.repair


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was found on one day in one account; `report` is the age in seconds of the report that was trusted."""

    account: str
    partition: str
    by: str
    made: float
    steps: Sequence[Step]
    report: float | None = None

    def intent(self, row: Row, *, staged: bool = False) -> Intent:
        return Intent(
            account=self.account,
            partition=self.partition,
            user=row.user,
            name=row.name or row.user,
            method=row.kind.method or VIRTUAL,
            path=row.path,
            known_serial=row.serial if row.kind.by_serial else None,
            recipient=row.recipient,
            tags=row.tags,
            staged=staged,
        )

    @property
    def making(self) -> list[Step]:
        return [step for step in self.steps if step.makes]

    @property
    def shut_out(self) -> list[str]:
        """Who could not open his own copy: an enabled device is asked for when he next signs in to the console."""
        return [step.user for step in self.making if step.row.recipient is None]

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(step.action for step in self.steps)
        return {action.value: found[action] for action in Action}

    @property
    def calls(self) -> int:
        """Calls that `apply` makes when nothing goes wrong: two a user, and the listings before and after."""
        return 2 * len(self.making) + 2 * (1 + len(self.steps) // PAGE) if self.making else 0

    @property
    def seconds(self) -> float:
        return self.calls * CALL_SECONDS / WORKERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What IAM says of the account: users by their names in small letters, and every virtual device."""

    people: Mapping[str, Person]
    holders: Mapping[str, str | None]

    @classmethod
    def of(cls, people: Iterable[Person], virtual: Iterable[Device]) -> "Snapshot":
        return cls(
            people={person.name.lower(): person for person in people},
            holders={device.serial: device.user for device in virtual},
        )

    def held(self) -> dict[str, tuple[str, ...]]:
        """Return the virtual devices of each user who has any."""
        return held(self.holders)


def held(holders: Mapping[str, str | None]) -> dict[str, tuple[str, ...]]:
    """Turn serials and who has them into users and what they have."""
    found: dict[str, tuple[str, ...]] = {}
    for serial, user in holders.items():
        if user is not None:
            found[user] = (*found.get(user, ()), serial)
    return found


Look = Callable[[Sequence[str]], Mapping[str, tuple[str, ...]]]


def planned(
    rows: Sequence[Row], snapshot: Snapshot, *, look: Look, caller: Caller, desk: Desk, report: float | None = None
) -> Plan:
    """Compare a roster with IAM; `look` returns the devices of users who have no virtual one. Touches nothing."""
    has = snapshot.held()
    named = [replace(row, user=found.name) if (found := snapshot.people.get(row.user.lower())) else row for row in rows]
    has |= look([row.user for row in named if row.user.lower() in snapshot.people and row.user not in has])
    plan = Plan(
        account=caller.account,
        partition=caller.partition,
        by=caller.arn,
        made=desk.inventory.now(),
        steps=(),
        report=report,
    )
    used = desk.journal.recipients(plan.account)
    steps = [_step(row, plan, snapshot, has.get(row.user, ()), desk=desk) for row in named]
    return replace(plan, steps=[replace(step, key_before=_changed(step.row, used.get(step.user))) for step in steps])


def _changed(row: Row, used: str | None) -> str:
    return roster.fingerprint(used) if used and row.recipient and used != row.recipient else ""


def _step(row: Row, plan: Plan, snapshot: Snapshot, has: tuple[str, ...], *, desk: Desk) -> Step:
    if (foreign := row.account not in {None, plan.account}) or row.user.lower() not in snapshot.people:
        what = f"is of account {row.account}, not of" if foreign else "there is no such user in account"
        return Step(row=row, action=Action.BLOCKED, reason=f"{what} {plan.account}")
    if has:
        return Step(row=row, action=Action.SKIP, reason=f"has {', '.join(has)}", devices=has)
    if row.kind.method is None:
        return Step(row=row, action=Action.SELF, reason="enrolls by himself; waited for until IAM lists a device")
    action = _meant(row.kind)
    serial = plan.intent(row).serial
    if serial not in snapshot.holders:
        return Step(row=row, action=action)
    if (holder := snapshot.holders[serial]) is not None:
        return Step(row=row, action=Action.BLOCKED, reason=f"the name is taken: {holder} has {serial}")
    return _orphan(row, serial, desk=desk)


def _meant(kind: How) -> Action:
    """Return what becomes of a row where nothing stands in the way."""
    if kind.method is None:
        return Action.SELF
    return Action.ENROLL if kind.unattended else Action.STATION


def _orphan(row: Row, serial: str, *, desk: Desk) -> Step:
    """Judge a device of the wanted name that nobody has."""
    tagged = desk.inventory.run_of(serial)
    run = tagged if isinstance(tagged, str) else None
    entry = desk.journal.find(serial, run=run)
    if entry and entry.reached is Reached.STAGED:
        return Step(row=row, action=Action.STAGED, reason=f"waits for `rollout activate`, run {entry.run}")
    if entry and entry.reached in {Reached.INTENT, Reached.CREATED} and tagged is not Mark.UNTAGGED:
        verb = "apply" if row.kind.unattended else "station"
        what = f"our orphan: run {entry.run} left {serial} half-made; `rollout {verb}` repairs that first"
        return Step(row=row, action=Action.BLOCKED, reason=what, repair=True)
    if run and STAGED_TAG in desk.inventory.tags(serial):
        what = f"another desk has staged {serial}; it activates it, or `rollout undo`es its run {run}"
    elif run:
        what = f"another desk left {serial}, or is making it now: mfa-kit orphans list"
    else:
        what = f"the name is taken: nobody has {serial}; choose another, or, when it is not used: "
        what += delete_command(serial)
    return Step(row=row, action=Action.BLOCKED, reason=what)


def text(plan: Plan) -> str:
    """Write a plan file: the summary first, for people, then a row a line."""
    head = {
        "schema": SCHEMA,
        "version": VERSION,
        "account": plan.account,
        "partition": plan.partition,
        "by": plan.by,
        "made": f"{datetime.fromtimestamp(plan.made, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "report_age": plan.report,
        **summary(plan),
    }
    rows = [json.dumps(_fields(step)) for step in plan.steps]
    return json.dumps(head, indent=1)[:-2] + ',\n "rows": [\n' + ",\n".join(rows) + "\n ]\n}\n"


def summary(plan: Plan) -> dict[str, Any]:
    """Return what is counted; of what stands here nothing is read back."""
    return {"counts": plan.counts, "calls": plan.calls, "seconds": round(plan.seconds), "shut_out": plan.shut_out}


def _fields(step: Step) -> dict[str, Any]:
    row = {name: cell for name, cell in roster.cells(step.row).items() if cell}
    rest = {
        "key": roster.fingerprint(step.row.recipient) if step.row.recipient else "",
        "key_before": step.key_before,
        "reason": step.reason,
        "devices": list(step.devices),
        "repair": step.repair,
    }
    return {**row, "action": step.action, **{name: value for name, value in rest.items() if value}}


def parsed(written: str, *, methods: Iterable[How], recipient: Callable[[str], str]) -> Plan:
    """Read a plan file as warily as a roster, `methods` as there. Raise UsageFault for what is none."""
    plan = None
    try:
        found = json.loads(written)
        lines = "\n".join(json.dumps(row) for row in found["rows"])
        rows = roster.parsed(lines or "user", methods=methods, recipient=recipient)
        plan = Plan(
            account=str(found["account"]),
            partition=str(found["partition"]),
            by=str(found["by"]),
            made=datetime.fromisoformat(found["made"]).timestamp(),
            steps=[_step_of(row, fields) for row, fields in zip(rows.rows, found["rows"], strict=True)],
            report=found["report_age"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageFault):
        found = {}
    if plan is None or (found.get("schema"), found.get("version")) != (SCHEMA, VERSION):
        raise UsageFault("this is no plan of this version", "make one: mfa-kit rollout plan ROSTER -o PLAN")
    return plan


def _step_of(row: Row, fields: Mapping[str, Any]) -> Step:
    """Read a row. Raise ValueError where its action is none of its kind's: somebody has changed one of them alone."""
    action, repair, meant = Action(fields["action"]), fields.get("repair") is True, _meant(row.kind)
    others = {Action.ENROLL, Action.STATION, Action.SELF} - {meant}
    if action in others or (repair and (action is not Action.BLOCKED or meant is Action.SELF)):
        raise ValueError(f"{action} is not for {row.kind}")
    return Step(
        row=row,
        action=action,
        reason=str(fields.get("reason", "")),
        devices=tuple(str(serial) for serial in fields.get("devices", ())),
        repair=repair,
        key_before=str(fields.get("key_before", "")),
    )
