"""A plan: the difference between a roster and IAM at one moment. People review it, then `apply` carries it out.

A plan file is a JSON object with a summary for people, then one row per line. An index is a file that lists the plan
files of several accounts, with the SHA-256 of each. The SHA-256 of an index therefore also identifies the contents of
its plans. In commands, a plan file is an index with one entry.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.file_formats import list_of, object_of, read_json
from mfa_kit.core.message import suggest
from mfa_kit.core.models import ACCOUNT_ID, VIRTUAL, Caller, Device, DeviceSpec, DeviceType, RosterMethod
from mfa_kit.core.text import checked_time, iso_time
from mfa_kit.rollout.roster import ACTION, DEVICE_NAME, RosterRow, key_fingerprint, parse_roster, row_cells

WORKERS = 8
# The seconds that a call to AWS takes, to estimate the run time. Others have measured and published this figure.
CALL_SECONDS = 0.7
# The number of devices in one response of ListVirtualMFADevices, to estimate the number of calls.
PAGE = 1000


class Action(StrEnum):
    """What happens to a row's user. Its value is the word in plan files and counts.

    ENROLL: `apply` makes a device. STATION: a device is made in person, at the station. SELF: the users enroll
    themselves. STAGED: a device is staged already. SKIP: the user has a device. BLOCKED:
    something must be fixed first.
    """

    ENROLL = "enroll"
    STATION = "bench"
    SELF = "self"
    STAGED = "staged"
    SKIP = "skip"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStep:
    """One row of a plan, and the action for it.

    `repair` means that an interrupted run on this computer left a half-made device, which is finished or removed first.
    `devices` are the serials of the user's devices. If the user's public key in the roster differs from the key to
    which this computer last encrypted a backup for the user, `key_before` is the fingerprint of that earlier key.
    Otherwise `key_before` is "".
    """

    row: RosterRow
    action: Action
    reason: str = ""
    devices: tuple[str, ...] = ()
    repair: bool = False
    key_before: str = ""

    @property
    def user(self) -> str:
        """The user's name, spelled as in IAM if the user exists."""
        return self.row.user

    @property
    def key(self) -> str:
        """What identifies the step in its plan: the user, or `USER/NAME` for a further device."""
        return self.row.key

    @property
    def replaces(self) -> str:
        """The serial of the user's old device, which is removed once the new one is proven, or ""."""
        return self.row.replaces or ""

    @property
    def by_apply(self) -> bool:
        """Whether `apply` makes the row's device, possibly after it finished or removed a half-made device."""
        return self.row.kind.unattended and self.open

    @property
    def open(self) -> bool:
        """Whether a device still has to be made, by `apply` or at a station."""
        return self.action in {Action.ENROLL, Action.STATION} or self.repair


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan for one account: one step for each user of a roster, based on IAM's lists at `planned_at` (Unix seconds).

    `by` is the ARN of the caller who made the plan. `report_age` is the age in seconds of the credential report on
    which the plan is based, or None if the plan is based on no report.
    """

    account: str
    partition: str
    by: str
    planned_at: float
    steps: Sequence[PlanStep]
    report_age: float | None = None

    def intent_of(self, row: RosterRow, *, staged: bool = False) -> DeviceSpec:
        """Return the device to make for a row. If users enroll themselves, a virtual device is assumed."""
        return DeviceSpec(
            account=self.account,
            partition=self.partition,
            user=row.user,
            name=row.name or row.user,
            method=row.kind.method or VIRTUAL,
            path=row.path,
            known_serial=row.serial if row.kind.by_serial and not row.kind.is_virtual else None,
            recipient=row.recipient,
            tags=row.tags,
            staged=staged,
        )

    def find_device(self, row: RosterRow, serials: Iterable[str]) -> str | None:
        """Return which of a user's devices is the one of a row, or None. `serials` are those of the user's devices.

        IAM appends an ID to the name of a security key, so its serial is not known before it is registered.
        """
        spec = self.intent_of(row)
        if spec.method.device_type is not DeviceType.FIDO2:
            return spec.serial if spec.serial in serials else None
        keys = (Device(serial, row.user) for serial in serials if DeviceType.of(serial) is DeviceType.FIDO2)
        return next((key.serial for key in keys if key.name == spec.name), None)

    def devices_of(self, row: RosterRow, serials: tuple[str, ...]) -> tuple[str, ...]:
        """Return the devices with which a row is done: any device of the user, or for a further device, only this one.

        `serials` are those of the user's devices.
        """
        if not row.is_further:
            return serials
        own = self.find_device(row, serials)
        return (own,) if own else ()

    @property
    def steps_of_apply(self) -> list[PlanStep]:
        """The steps for which `apply` makes a device."""
        return [step for step in self.steps if step.by_apply]

    @property
    def without_copy(self) -> list[str]:
        """The users for whom `apply` makes a device, but who get no copy of their secret.

        They have no public key in the roster.
        """
        return [step.user for step in self.steps_of_apply if step.row.recipient is None]

    @property
    def shut_out(self) -> list[str]:
        """Those of `without_copy` who have no other device. AWS asks them for a code at the next sign-in."""
        return [step.user for step in self.steps_of_apply if step.row.recipient is None and not step.devices]

    @property
    def counts(self) -> dict[str, int]:
        """The number of steps for each action, by the action's value, such as `enroll`."""
        totals = Counter(step.action for step in self.steps)
        return {action.value: totals[action] for action in Action}

    @property
    def calls(self) -> int:
        """The estimated number of API calls of `apply` if none fails: two per user, and two lists of devices."""
        making = self.steps_of_apply
        return 2 * len(making) + 2 * (1 + len(self.steps) // PAGE) if making else 0

    @property
    def seconds(self) -> float:
        """The estimated run time of `apply` in seconds."""
        return self.calls * CALL_SECONDS / WORKERS


def devices_by_user(holders: Mapping[str, str | None]) -> dict[str, tuple[str, ...]]:
    """Return the serials of each user's virtual devices, by user name. Users without such a device are left out.

    `holders` has the user of each virtual device by serial; None for an unassigned device.
    """
    serials_by_user: dict[str, tuple[str, ...]] = {}
    for serial, user in holders.items():
        if user is not None:
            serials_by_user[user] = (*serials_by_user.get(user, ()), serial)
    return serials_by_user


# A function that returns the serials of the given users' devices, by user name. It may leave out users without devices.
DeviceLookup = Callable[[Sequence[str]], Mapping[str, tuple[str, ...]]]


def check_account(plan: Plan, caller: Caller) -> None:
    """Raise UsageFault if the plan was made for another account."""
    if plan.account != caller.account:
        raise UsageFault(
            f"the plan is for account {plan.account}, but these credentials are for {caller.account}",
            "choose another --profile, or make a new plan",
        )


def action_of(kind: RosterMethod) -> Action:
    """Return the action for a row of this `kind` whose user has no device, and whose device name is not taken."""
    if kind.method is None:
        return Action.SELF
    return Action.ENROLL if kind.unattended else Action.STATION


SCHEMA, INDEX_SCHEMA = "mfa-kit/rollout-plan", "mfa-kit/rollout-index"
# The version of both formats.
VERSION = 1
# The fields of a plan for the columns `device_name` and `action` of a roster. The action of a step is another one.
NAME, CHANGE = "name", "change"
FIELDS = {DEVICE_NAME: NAME, ACTION: CHANGE}
# Matches the beginning of an index. The rest is not read, because a plan may have several megabytes.
INDEX_BEGIN = re.compile(rf'\s*\{{\s*"schema"\s*:\s*"{re.escape(INDEX_SCHEMA)}"')
CREATE = suggest("create a plan", "rollout plan ROSTER -o PLAN")
CREATE_INDEX = suggest("create it", "rollout plan ROSTER --accounts FILE -o INDEX")
DIGEST = re.compile(r"[0-9a-f]{64}")


def is_index(text: str) -> bool:
    """Return whether a text is an index of any version, and not a plan."""
    return INDEX_BEGIN.match(text) is not None


def plan_text(plan: Plan) -> str:
    """Return the text of a plan file.

    The fields counts, calls, seconds and shut_out in the file are a summary for people, which `parse_plan` ignores.
    """
    head = {
        "schema": SCHEMA,
        "version": VERSION,
        "account": plan.account,
        "partition": plan.partition,
        "by": plan.by,
        "made": iso_time(plan.planned_at),
        "report_age": plan.report_age,
        "counts": plan.counts,
        "calls": plan.calls,
        "seconds": round(plan.seconds),
        "shut_out": plan.shut_out,
    }
    return _document_text(head, rows=[_step_fields(step) for step in plan.steps])


def _document_text(head: Mapping[str, object], **lists: Sequence[Mapping[str, object]]) -> str:
    """Return the text of a JSON object with the fields of `head`, and then the lists, with an entry per line."""
    lines = {name: ",\n".join(map(json.dumps, entries)) for name, entries in lists.items()}
    texts = [f'\n "{name}": [\n{text}\n ]' if text else f'\n "{name}": []' for name, text in lines.items()]
    return ",".join([json.dumps(head, indent=1)[:-2], *texts]) + "\n}\n"


def _step_fields(step: PlanStep) -> dict[str, object]:
    row = {FIELDS.get(column, column): cell for column, cell in row_cells(step.row).items() if cell}
    details = {
        "pair": step.row.pair,
        "key": key_fingerprint(step.row.recipient) if step.row.recipient else "",
        "key_before": step.key_before,
        "reason": step.reason,
        "devices": list(step.devices),
        "repair": step.repair,
    }
    return {**row, "action": step.action, **{name: value for name, value in details.items() if value}}


def plan_digest(text: str) -> str:
    """Return the SHA-256 of a plan file's text in hex, as sha256sum prints it for the file."""
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which help pages do not need

    return hashlib.sha256(text.encode()).hexdigest()


def parse_plan(
    text: str, *, methods: Iterable[RosterMethod], parse_key: Callable[[str], str], name: str = "this file"
) -> Plan:
    """Parse a plan file. Its rows are checked like those of a roster.

    The cell `kind` of a row has the name of one of `methods`, or `self`. `parse_key` returns a public key without its
    comment, or raises UsageFault. Raise UsageFault if the text is not a plan, or has another version of the format. The
    message of the error begins with `name`.
    """
    try:
        return _parse(_read_document(text, SCHEMA), methods=methods, parse_key=parse_key)
    except (ValueError, KeyError, TypeError, RecursionError, UsageFault):
        raise UsageFault(f"{name} is not a rollout plan, or another version of mfa-kit made it", CREATE) from None


def _read_document(text: str, schema: str) -> Mapping[str, object]:
    """Return the JSON object in a plan file or an index. Raise ValueError for another schema or version."""
    document = object_of(read_json(text))
    if (document["schema"], document["version"]) != (schema, VERSION):
        raise ValueError("it has another schema or version")
    return document


def _planned_at(document: Mapping[str, object]) -> float:
    return checked_time(datetime.fromisoformat(str(document["made"])).timestamp())


def _parse(document: Mapping[str, object], *, methods: Iterable[RosterMethod], parse_key: Callable[[str], str]) -> Plan:
    steps = [object_of(step) for step in list_of(document["rows"])]
    lines = "\n".join(
        json.dumps({**step, **{column: step.get(name) for column, name in FIELDS.items()}}) for step in steps
    )
    rows = parse_roster(lines or "user", methods=methods, parse_key=parse_key, of_plan=True).rows
    report_age = document["report_age"]
    if not isinstance(report_age, float | int | None):
        raise TypeError("the age of the report is not a number")
    return Plan(
        account=str(document["account"]),
        partition=str(document["partition"]),
        by=str(document["by"]),
        planned_at=_planned_at(document),
        steps=[_parse_step(row, fields) for row, fields in zip(rows, steps, strict=True)],
        report_age=report_age,
    )


def _parse_step(row: RosterRow, fields: Mapping[str, object]) -> PlanStep:
    """Return the step with this row, from the fields of its line in the plan file.

    Raise ValueError if the action does not fit the kind of device, which happens if a user edited only one of the two.
    """
    action, repair, meant = Action(str(fields["action"])), fields.get("repair") is True, action_of(row.kind)
    others = {Action.ENROLL, Action.STATION, Action.SELF} - {meant}
    if action in others:
        raise ValueError(f"the action {action} is not possible for {row.kind}")
    if repair and (action is not Action.BLOCKED or meant is Action.SELF):
        raise ValueError(f"repair is not possible for {row.kind} with the action {action}")
    return PlanStep(
        row=replace(row, pair=fields.get("pair") is True),
        action=action,
        reason=str(fields.get("reason", "")),
        devices=tuple(map(str, list_of(fields.get("devices", [])))),
        repair=repair,
        key_before=str(fields.get("key_before", "")),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedAccount:
    """An account with a plan: the file of the plan, relative to the folder of the index, and the file's SHA-256 in hex.

    `counts` has the plan's number of users for each action, such as `enroll`.
    """

    id: str
    name: str
    plan: str
    sha256: str
    counts: Mapping[str, int]

    @property
    def label(self) -> str:
        """The account for messages: `NAME (ID)`, or the ID if the account has no name."""
        return f"{self.name} ({self.id})" if self.name else self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class UnplannedAccount:
    """A chosen account that has no plan, because mfa-kit could not read the account. `why` is a sentence."""

    id: str
    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutIndex:
    """The index of the plans that one command made at `planned_at` (Unix seconds).

    `by` is the ARN of the caller, who assumed the roles in the accounts. `unplanned` are the accounts without a plan.
    """

    by: str
    planned_at: float
    accounts: Sequence[PlannedAccount]
    unplanned: Sequence[UnplannedAccount] = ()

    @property
    def counts(self) -> dict[str, int]:
        """The number of users for each action, in all accounts together."""
        totals = sum((Counter(account.counts) for account in self.accounts), Counter[str]())
        return {action.value: totals[action.value] for action in Action}

    def find(self, number: str) -> PlannedAccount | None:
        """Return the account with an ID, or None if it is not in the index."""
        return next((account for account in self.accounts if account.id == number), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFiles:
    """The plans that a command reads from one or several files.

    `index` lists the accounts of all files. `plans` has the plan of each account, by account ID. `files` has the file
    from which each plan was read, by account ID: the plan or the index that was given on the command line. `label`
    names all files in messages.
    """

    index: RolloutIndex
    plans: Mapping[str, Plan]
    files: Mapping[str, Path]
    label: str


def index_of_plan(plan: Plan, *, name: str, sha256: str) -> RolloutIndex:
    """Return an index with one plan only. `name` and `sha256` are the name and the SHA-256 of its file."""
    account = PlannedAccount(id=plan.account, name="", plan=name, sha256=sha256, counts=plan.counts)
    return RolloutIndex(by=plan.by, planned_at=plan.planned_at, accounts=[account])


def merge_plan_files(
    paths: Sequence[Path], read: Callable[[Path], tuple[RolloutIndex, Mapping[str, Plan]]]
) -> PlanFiles:
    """Return the plans of several files together. `read` returns the index in a file, and its plans by account ID.

    Raise UsageFault if two files have a plan for the same account.
    """
    indexes: list[RolloutIndex] = []
    plans: dict[str, Plan] = {}
    files: dict[str, Path] = {}
    for path in paths:
        index, file_plans = read(path)
        if duplicates := [number for number in file_plans if number in plans]:
            raise UsageFault(
                f"{files[duplicates[0]]} and {path} both have a plan for account {duplicates[0]}",
                "give one of these files, then run the command again with the other file",
            )
        indexes.append(index)
        plans |= file_plans
        files |= dict.fromkeys(file_plans, path)
    unplanned = {account.id: account for index in indexes for account in index.unplanned if account.id not in plans}
    return PlanFiles(
        index=replace(
            indexes[0],
            accounts=[account for index in indexes for account in index.accounts],
            unplanned=[*unplanned.values()],
        ),
        plans=plans,
        files=files,
        label=", ".join(map(str, paths)),
    )


def plan_file_name(account: str, digest: str) -> str:
    """Return the name of the plan file for the account with this ID. `digest` is the SHA-256 of the plan in hex.

    The name depends on the content of the plan, so a new plan does not overwrite the plan of an earlier index.
    """
    return f"{account}-{digest[:8]}.json"


def index_text(index: RolloutIndex) -> str:
    """Return the text of an index: JSON with an account per line."""
    head = {
        "schema": INDEX_SCHEMA,
        "version": VERSION,
        "by": index.by,
        "made": iso_time(index.planned_at),
        "counts": index.counts,
    }
    return _document_text(
        head, accounts=[asdict(account) for account in index.accounts], unplanned=[*map(asdict, index.unplanned)]
    )


def parse_index(text: str, *, name: str = "this file") -> RolloutIndex:
    """Parse the text of an index file. Raise UsageFault for any other text, or another version of the format.

    The message of the error begins with `name`.
    """
    try:
        return _parse_index(_read_document(text, INDEX_SCHEMA))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageFault(
            f"{name} is not an index of plans, or another version of mfa-kit made it", CREATE_INDEX
        ) from None


def _parse_index(document: Mapping[str, object]) -> RolloutIndex:
    accounts = [_parse_account(object_of(entry)) for entry in list_of(document["accounts"])]
    if len({account.id for account in accounts}) < len(accounts):
        raise ValueError("it has an account twice")
    unplanned = map(object_of, list_of(document["unplanned"]))
    return RolloutIndex(
        by=str(document["by"]),
        planned_at=_planned_at(document),
        accounts=accounts,
        unplanned=[
            UnplannedAccount(id=str(entry["id"]), name=str(entry["name"]), why=str(entry["why"])) for entry in unplanned
        ],
    )


def _parse_account(fields: Mapping[str, object]) -> PlannedAccount:
    number, digest, plan = str(fields["id"]), str(fields["sha256"]), str(fields["plan"])
    if not ACCOUNT_ID.fullmatch(number) or not DIGEST.fullmatch(digest):
        raise ValueError("the account ID or the hash is invalid")
    folder, _, name = plan.partition("/")
    if name != plan_file_name(number, digest) or not _is_folder(folder):
        raise ValueError("the file name of the plan is wrong, or the folder of the plan is not beside the index")
    counts = {action: _count(users) for action, users in object_of(fields["counts"]).items()}
    return PlannedAccount(id=number, name=str(fields["name"]), plan=plan, sha256=digest, counts=counts)


def _is_folder(name: str) -> bool:
    """Return whether a text can be the name of a folder. Raise ValueError if it cannot be encoded as a file name."""
    name.encode("utf-8", "surrogateescape")
    return name not in {"", ".", ".."} and "\0" not in name


def _count(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("it is not a number")
    return value
