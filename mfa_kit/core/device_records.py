"""What the ledger and the record of a run store about a device: its intent (DeviceSpec), backups and states, as JSON.

The record has a line for the run, one for each device that it makes, with the SHA-256 of its backups, and one for each
state of a device that IAM cannot report.
docs/formats.md describes the file. It proves what tags and backups alone do not: whoever may create devices and write
to the bucket can forge both.
"""

import json
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from typing import TypeGuard

from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.file_formats import list_of, object_of, read_json
from mfa_kit.core.models import (
    BackupLocation,
    DeviceSpec,
    DeviceType,
    JournalEntry,
    JournalState,
    Method,
    S3Url,
    copies_of,
    recorded_location,
    recorded_name,
    run_time,
)

# The fields of an intent that are stored unchanged (UNCHANGED), and all keys that its JSON object may have (FIELDS).
# The name of the enrollment method is stored under the key `kind`.
UNCHANGED = tuple(field.name for field in fields(DeviceSpec) if field.name != "method")
FIELDS = {*UNCHANGED, "kind"}
LAST_TIME = 253402300800.0
# The end of the message about a damaged line of a record, and its hint.
NO_LINE, RESTORE = "is not a line of a run's record", "restore the file, or move it away"


def intent_object(spec: DeviceSpec) -> dict[str, object]:
    """Return an intent as a JSON object.

    The enrollment method is stored as its name, under the key `kind`. The device type is not stored, because it follows
    from the serial.
    """
    return {**{name: getattr(spec, name) for name in UNCHANGED}, "kind": spec.method.name}


def intent_json(spec: DeviceSpec) -> str:
    """Return an intent as the text of a JSON object."""
    return json.dumps(intent_object(spec))


def parse_intent(document: object) -> DeviceSpec:
    """Parse an intent from the JSON object of `intent_object`.

    An intent without `known_serial` is for a virtual device: the device's serial is its ARN, which follows from the
    other fields. Raise KeyError, TypeError, ValueError or UsageFault for another object.
    """
    if not isinstance(document, dict) or not document.keys() <= FIELDS:
        raise TypeError("these are not the fields of an intent")
    serial = optional_text(document.get("known_serial"))
    return DeviceSpec(
        account=text_of(document["account"]),
        partition=text_of(document["partition"]),
        user=text_of(document["user"]),
        name=text_of(document["name"]),
        method=Method(text_of(document["kind"]), DeviceType.of(serial) if serial else DeviceType.VIRTUAL),
        path=text_of(document.get("path", "/")),
        known_serial=serial,
        hardware=optional_text(document.get("hardware")),
        card=optional_text(document.get("card")),
        replaces=optional_text(document.get("replaces")),
        replaces_run=optional_text(document.get("replaces_run")),
        replaces_since=optional_time(document.get("replaces_since")),
        recipient=optional_text(document.get("recipient")),
        tags=tuple((text_of(key), text_of(value)) for key, value in document.get("tags", ())),
        staged=bool(document.get("staged")),
    )


def text_of(value: object) -> str:
    """Return a value unchanged. Raise TypeError or ValueError if it is not text that a database can store."""
    if not isinstance(value, str) or "\0" in value:
        raise TypeError("a name is not text")
    value.encode()  # raises UnicodeEncodeError, which is a ValueError, for half of a surrogate pair
    return value


def optional_text(value: object) -> str | None:
    """Return None, or the text as `text_of` does."""
    return None if value is None else text_of(value)


def optional_time(value: object) -> float | None:
    """Return None or a Unix time unchanged. Raise TypeError for another value."""
    if value is not None and not is_time(value):
        raise TypeError("this is not a time")
    return value


def is_time(value: object) -> TypeGuard[float]:
    """Return whether a value is a Unix time in the years 1970 to 9999."""
    return isinstance(value, int | float) and 0 <= value < LAST_TIME


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """The first line of a record: the run with this `id`.

    `plan` is the SHA-256 of the plan's file in hex. `in_progress` says whether the run may still be at work, and `here`
    whether it ran on this computer.
    """

    id: str
    plan: str
    computer: str
    in_progress: bool = False
    here: bool = True

    @property
    def line(self) -> str:
        """The line as JSON."""
        return json.dumps({"run": self.id, "plan": self.plan, "computer": self.computer})


@dataclass(frozen=True, kw_only=True)
class RecordedDevice:
    """Another line of a record: a device that the run made, or was about to enable or stage.

    `at` is the Unix time of the line, by AWS's clock. `to` are the recipients of the administrators' file. `backups`
    has the SHA-256 of each file of the backup in hex, by its path or S3 URL; {} for a device without a backup.
    """

    run: RecordedRun
    at: float
    spec: DeviceSpec
    to: Sequence[str] = ()
    backups: Mapping[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The line as JSON."""
        backups = [{"path": path, "sha256": sha256} for path, sha256 in self.backups.items()]
        return json.dumps(
            {
                "run": self.run.id,
                "user": self.spec.user,
                "device": self.spec.serial,
                "backups": backups,
                "at": self.at,
                "recipients": [*self.to],
                "intent": intent_object(self.spec),
            }
        )

    @cached_property
    def misplaced(self) -> str | None:
        """The first path that is not that of this account, user, device and run, or None.

        Somebody then changed the line, and its hashes do not count.
        """
        entry = self.entry(JournalState.CREATED)
        return next((path for path in self.backups if not entry.owns(recorded_location(path))), None)

    @property
    def hashes(self) -> dict[str, str]:
        """The SHA-256 of each file of the backup in hex, by its `recorded_name`."""
        files = self.backups if self.misplaced is None else {}
        return {recorded_name(recorded_location(path)): sha256 for path, sha256 in files.items()}

    @property
    def locations(self) -> list[BackupLocation]:
        """The path or S3 URL of each file of the backup, without those in the folders of other computers."""
        locations = map(recorded_location, self.backups if self.misplaced is None else ())
        return [location for location in locations if self.run.here or isinstance(location, S3Url)]

    def entry(self, reached: JournalState) -> JournalEntry:
        """Return the journal entry of the device."""
        backup = next(iter(self.backups), None)
        return JournalEntry(run=self.run.id, spec=self.spec, reached=reached, backup=backup, sealed=backup is not None)


class DeviceState(StrEnum):
    """A state of a device that IAM cannot report: whether its user has it, and has used it."""

    PREPARED = "prepared"
    ARRIVED = "arrived"
    PROVEN = "proven"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedState:
    """A line of a record about the state of a device, at the Unix time `at` by AWS's clock.

    `how` says in a short phrase how the state was established, for example "two codes at the desk".
    """

    run: RecordedRun
    at: float
    serial: str
    user: str
    state: DeviceState
    how: str

    @property
    def line(self) -> str:
        """The line as JSON. It begins with STATE_LINE."""
        return json.dumps(
            {
                "run": self.run.id,
                "state": self.state,
                "device": self.serial,
                "user": self.user,
                "how": self.how,
                "at": self.at,
            }
        )


def newest_states(states: Iterable[RecordedState], *, plan: str | None = None) -> dict[str, RecordedState]:
    """Return the newest state of each device by its serial.

    Leave out states that were recorded for other plans than `plan` (the SHA-256 of its file in hex), unless it is None.
    """
    of_plan = [state for state in states if plan in {None, state.run.plan}]
    return {state.serial: state for state in sorted(of_plan, key=lambda state: state.at)}


# The beginning of a state's line, as `RecordedState.line` writes it.
STATE_LINE = re.compile(r'\{"run": "[^"\\]*", "state": ')
# The beginning of a device's line, as `RecordedDevice.line` writes it.
SERIAL = re.compile(r'\{"run": "[^"\\]*", "user": "(?:[^"\\]|\\.)*", "device": "([^"\\]*)", ')


@dataclass(frozen=True)
class RecordedLine:
    """A line of the record of `run`. It is parsed when `device` is first used. `where` names its place in an error."""

    run: RecordedRun
    text: str
    where: str

    @cached_property
    def device(self) -> RecordedDevice:
        """The device. Raise IntegrityFault if the line is damaged."""
        try:
            return parse_device(self.text, self.run)
        except ValueError:
            raise IntegrityFault(f"{self.where} {NO_LINE}", RESTORE) from None

    @property
    def key(self) -> tuple[str, str]:
        """The run and the serial of the device, without parsing the whole line."""
        match = SERIAL.match(self.text)
        return self.run.id, match[1] if match else self.device.spec.serial


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecords:
    """What several records say: their runs by ID, and the lines of these runs about devices, oldest run first.

    `states` are the lines about the states of devices.
    """

    runs: Mapping[str, RecordedRun] = field(default_factory=dict)
    lines: Sequence[RecordedLine] = ()
    states: Sequence[RecordedState] = ()

    @property
    def devices(self) -> list[RecordedDevice]:
        """The devices of all lines."""
        return [line.device for line in self.lines]

    def has_hashes(self, run: str) -> bool:
        """Return whether a line of a run has the hash of a file."""
        return any(line.device.hashes for line in self.lines if line.run.id == run)

    def lacking(self, known: Callable[[], Container[tuple[str, str]]]) -> list[RecordedDevice]:
        """Return the last line about each device whose run and serial are not in the result of `known`.

        Only these lines are parsed, because that takes most of the time. Without lines, `known` is not called.
        """
        last = {line.key: line for line in self.lines}
        ours = known() if last else ()
        return [line.device for key, line in last.items() if key not in ours]

    def lacking_in(
        self, account: str, known: Callable[[], Container[tuple[str, str]]]
    ) -> dict[str, list[RecordedDevice]]:
        """Return the lines of an account whose devices `lacking` returns, by the device's serial."""
        lost: dict[str, list[RecordedDevice]] = {}
        for line in self.lacking(known):
            if line.spec.account == account:
                lost.setdefault(line.spec.serial, []).append(line)
        return lost

    def lost_runs(self, plan: str, known: Callable[[], Container[str]]) -> list[RecordedRun]:
        """Return the runs of a plan that have ended and whose ID is not in the result of `known`.

        `plan` is the SHA-256 of its file, in hex. Runs of other plans are left out: another thread may be at work on
        the plan of another account. So are the processes that only recorded states: they are no runs of the plan.
        """
        only_states = {state.run.id for state in self.states} - {line.run.id for line in self.lines}
        runs = [
            run for run in self.runs.values() if run.plan == plan and not run.in_progress and run.id not in only_states
        ]
        ours = known() if runs else ()
        return [run for run in runs if run.id not in ours]


NO_RECORDS = RunRecords()


def backups_of(entry: JournalEntry, hashes: Mapping[str, str]) -> dict[str, str]:
    """Return the SHA-256 of each file of an entry's backup, by its path. `hashes` has them by `recorded_name`."""
    paths = [path for path in copies_of(entry) if path is not None]
    return {path: hashes[recorded_name(recorded_location(path))] for path in paths}


def parse_run(text: str) -> RecordedRun:
    """Parse the first line of a record. Raise ValueError if it is not such a line."""
    try:
        line = object_of(read_json(text))
        run = text_of(line["run"])
        run_time(run)
        plan, computer = text_of(line["plan"]), text_of(line["computer"])
        return RecordedRun(id=run, plan=plan, computer=computer)
    except (KeyError, TypeError) as error:
        raise ValueError(str(error)) from None


def parse_state(text: str, run: RecordedRun) -> RecordedState:
    """Parse a line about a state in the record of `run`. Raise ValueError if it is not such a line."""
    try:
        line = object_of(read_json(text))
        if line["run"] != run.id or not is_time(line["at"]):
            raise ValueError("its parts contradict each other")
        serial, user, how = (text_of(line[name]) for name in ("device", "user", "how"))
        return RecordedState(
            run=run, at=line["at"], serial=serial, user=user, state=DeviceState(text_of(line["state"])), how=how
        )
    except (KeyError, TypeError) as error:
        raise ValueError(str(error)) from None


def parse_device(text: str, run: RecordedRun) -> RecordedDevice:
    """Parse another line of the record of `run`. Raise ValueError if it is not such a line."""
    try:
        line = object_of(read_json(text))
        spec, at = parse_intent(line["intent"]), line["at"]
        if (line["run"], line["user"], line["device"]) != (run.id, spec.user, spec.serial) or not is_time(at):
            raise ValueError("its parts contradict each other")
        backups = [object_of(backup) for backup in list_of(line["backups"])]
        return RecordedDevice(
            run=run,
            at=at,
            spec=spec,
            to=tuple(text_of(recipient) for recipient in list_of(line["recipients"])),
            backups={text_of(backup["path"]): text_of(backup["sha256"]) for backup in backups},
        )
    except (KeyError, TypeError, UsageFault) as error:
        raise ValueError(str(error)) from None
