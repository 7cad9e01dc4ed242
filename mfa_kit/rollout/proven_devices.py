"""Which devices of a rollout are proven: by the ledger, or by the record of a run that the ledger lacks.

The ledger can be lost, or be older than the account. Tags and backups alone prove nothing, so a device without a record
is given to no one.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

from mfa_kit.core.device_records import RecordedDevice, RecordedRun, RecordedState, RunRecords, newest_states
from mfa_kit.core.message import Message, mfa_kit
from mfa_kit.core.models import (
    USER_TAG,
    VIRTUAL,
    Device,
    DeviceSpec,
    DeviceType,
    JournalEntry,
    JournalState,
    RunTag,
    intent_of,
    recorded_location,
    recorded_name,
    run_time,
    without_own_copy,
)
from mfa_kit.core.text import count_of
from mfa_kit.enrollment.ports import EnrollmentPorts, Journal

UNRECORDED = "neither the ledger nor a record of a run has it"
REMOVE_UNPROVEN = Message(
    "if another computer made it, name the folder with that computer's results: --record DIR; if no run is at work, "
    "remove it",
    mfa_kit("rollout undo PLAN --adopt-unrecorded"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenDevices:
    """The devices of an account that mfa-kit made, according to the ledger or to a record.

    `entries` has their journal entries by serial, with the state that IAM shows. `adopted` has the lines of the record
    that the ledger lacks, by serial, and `refused` the reason for each device with lines that cannot be adopted.
    `unassigned` has the serials of virtual devices that are assigned to no user and that nothing proves.
    """

    entries: Mapping[str, JournalEntry]
    adopted: Mapping[str, RecordedDevice]
    refused: Mapping[str, str]
    unassigned: AbstractSet[str]

    @property
    def settled(self) -> list[JournalEntry]:
        """The adopted entries, without the half-made devices of runs that may still be at work."""
        adopted = [(line.run, self.entries[serial]) for serial, line in self.adopted.items()]
        return [entry for run, entry in adopted if not (run.in_progress and entry.is_half_made)]


def why_unproven(spec: DeviceSpec, proven: ProvenDevices) -> Message | None:
    """Return why the device with the name of `spec` must be given to no one, and what to do; None if there is none.

    Nothing proves which seed such a device has.
    """
    if spec.serial not in proven.unassigned:
        return None
    why = proven.refused.get(spec.serial, UNRECORDED)
    return Message(f"an unassigned device has the name {spec.name}, but {why}; ", REMOVE_UNPROVEN)


def prove_devices(
    account: str, *, holders: Mapping[str, str | None], record: RunRecords, ports: EnrollmentPorts
) -> ProvenDevices:
    """Return which devices of an account the ledger or the record proves.

    `holders` has the user of each virtual device that IAM lists, by serial; None for an unassigned device. It may be
    empty if the ledger lacks no line of the record. A line counts if the ledger does not have its run and device, or
    has them as half-made although the backup exists and the run has ended. If several runs could have made a device,
    the one whose backup exists counts; if several have one, none counts.
    """
    lost = record.lacking_in(account, ports.journal.recorded_devices)
    known = _Known.of(account, holders=holders, lost=lost, record=record, ports=ports)
    entries = {serial: _as_in_iam(entry, holders) for serial, entry in known.ours.items()}
    adopted: dict[str, RecordedDevice] = {}
    refused: dict[str, str] = {}
    for serial, lines in lost.items():
        try:
            line = known.proven_line(serial, lines)
            if line is not None:
                entries[serial] = line.entry(known.state_in_iam(line))
                adopted[serial] = line
        except LookupError as error:
            refused[serial] = str(error)
            entries.pop(serial, None)
    unassigned = {serial for serial, user in holders.items() if user is None and serial not in entries}
    return ProvenDevices(entries=entries, adopted=adopted, refused=refused, unassigned=unassigned)


class _Known(NamedTuple):
    """What IAM, the ledger and the backups show about the devices of an account.

    `holders` is as in `prove_devices`. `ours` has the ledger's entries by serial. `held` has the `recorded_name` of the
    backups that exist, and `stored` the runs of the record of which one of them is. `states` and `has_hashes` are those
    of the record.
    """

    holders: Mapping[str, str | None]
    ours: Mapping[str, JournalEntry]
    held: AbstractSet[str]
    stored: AbstractSet[str]
    states: Mapping[str, RecordedState]
    has_hashes: Callable[[str], bool]
    ports: EnrollmentPorts

    @classmethod
    def of(
        cls,
        account: str,
        *,
        holders: Mapping[str, str | None],
        lost: Mapping[str, Sequence[RecordedDevice]],
        record: RunRecords,
        ports: EnrollmentPorts,
    ) -> "_Known":
        """Return what is known about an account. The backups are listed only if there are `lost` lines."""
        held = {recorded_name(backup.path) for backup in ports.store.backups()} if lost else {*()}
        return cls(
            holders=holders,
            ours={entry.spec.serial: entry for entry in ports.journal.made(account)},
            held=held,
            stored={line.run.id for lines in lost.values() for line in lines if not held.isdisjoint(line.hashes)},
            states=newest_states(record.states),
            has_hashes=cache(record.has_hashes),
            ports=ports,
        )

    def proven_line(self, serial: str, lines: Sequence[RecordedDevice]) -> RecordedDevice | None:
        """Return the line of the run that made a device, or None if there is no such line or device.

        Raise LookupError if several runs could have made the device, or if somebody changed a line. Also raise it if
        the backup is gone, as after an undo, and the device's tags do not name the run: the device can then be a new
        one with the same name.
        """
        # IAM's list of virtual devices has no keys and tokens.
        may_exist = serial in self.holders or DeviceType.of(serial) is not DeviceType.VIRTUAL
        if not may_exist:
            return None
        for line in lines:
            self._check_line(line)
        ours = self.ours.get(serial)
        lines = [line for line in lines if self._is_newer(line, ours)]
        return self._only_line(lines, ours) if lines else None

    def _check_line(self, line: RecordedDevice) -> None:
        """Raise LookupError if somebody changed a line: its files are others, or they are missing."""
        spec, run = line.spec, line.run.id
        if line.misplaced is not None:
            raise LookupError(
                f"the record of run {run} has a file for {spec.user} that is not theirs: {line.misplaced}"
            )
        if spec.method.name == VIRTUAL.name and not line.backups and self.has_hashes(run):
            raise LookupError(f"the record of run {run} has no backup of it, although it has those of other users")

    def _is_newer(self, line: RecordedDevice, ours: JournalEntry | None) -> bool:
        """Return whether a line is newer than `ours`, the ledger's entry about the device.

        If the ledger lost the end of a run, it has a device as half-made whose backup the run completed. Such a device
        must not be undone, because its user may have the secret.
        """
        if ours is None or ours.run != line.run.id:
            return True
        if self.held.isdisjoint(line.hashes):
            return False
        return not (line.run.in_progress or self.ports.journal.lives(line.run.id))

    def _only_line(self, lines: Sequence[RecordedDevice], ours: JournalEntry | None) -> RecordedDevice | None:
        """Return the line of the run that made a device, or None if `ours`, the ledger's entry, is about the device."""
        rivals = [*(line.entry(JournalState.CREATED) for line in lines), *filter(None, [ours])]
        if len(rivals) > 1 and any(rival.backup for rival in rivals):
            runs = {rival.run for rival in rivals if self.ports.store.find(rival)}
            if len(runs) != 1:
                raise LookupError(f"{len(runs) or 'none'} of the runs that may have made it have a backup")
            lines = [line for line in lines if line.run.id in runs]
        else:
            self._check_backup(rivals[0])
        return lines[-1] if lines else None

    def _has_backup(self, entry: JournalEntry) -> bool:
        """Return whether the backup of an entry exists, or was never made."""
        return (
            entry.backup is None
            or recorded_name(recorded_location(entry.backup)) in self.held
            or self.ports.store.find(entry) is not None
        )

    def _check_backup(self, entry: JournalEntry) -> None:
        """Raise LookupError if the backup of an entry is gone, and the device's tags do not name the entry's run."""
        if not self._has_backup(entry) and self.ports.iam_reader.run_of(entry.spec.serial) != entry.run:
            raise LookupError(f"the backup of run {entry.run} is gone, and no tag of the device shows that it made it")

    def state_in_iam(self, line: RecordedDevice) -> JournalState:
        """Return the state of a recorded device.

        A device that is to be staged and has no backup is half-made, if another backup of its run exists. Otherwise the
        backups may be out of reach. Then raise LookupError, as for a device that belongs to another user than the
        line's.
        """
        holder = self.holders.get(line.spec.serial, line.spec.user)
        if holder is None and line.spec.posted and not self._is_prepared(line):
            return JournalState.CREATED
        if holder is None and line.spec.staged:
            if self._has_backup(without_own_copy(line.entry(JournalState.STAGED))):
                return JournalState.STAGED
            if line.run.id in self.stored:
                return JournalState.CREATED
            raise LookupError(f"the backup of run {line.run.id}, without which it cannot be enabled, is missing")
        if holder is None:
            return JournalState.CREATED
        if holder != line.spec.user:
            raise LookupError(f"it belongs to {holder}, and run {line.run.id} made it for {line.spec.user}")
        return JournalState.CONFIRMED

    def _is_prepared(self, line: RecordedDevice) -> bool:
        """Return whether the key that a line is about was prepared completely, according to a later line."""
        state = self.states.get(line.spec.serial)
        return state is not None and state.at >= run_time(line.run.id)


def _as_in_iam(entry: JournalEntry, holders: Mapping[str, str | None]) -> JournalEntry:
    """Return an entry as enabled if the ledger has it as staged, but IAM lists it for its user."""
    enabled = entry.reached is JournalState.STAGED and holders.get(entry.spec.serial) == entry.spec.user
    return entry.at(JournalState.CONFIRMED) if enabled else entry


def record_adopted(entries: Sequence[JournalEntry], *, journal: Journal) -> None:
    """Write the entries of adopted devices into the journal. Afterward, other processes can settle their runs."""
    journal.record_all(entries)
    for run in {entry.run for entry in entries}:
        journal.end(run)


def adopt_devices(
    account: str,
    *,
    devices: Sequence[Device],
    tagged: Mapping[str, str | RunTag],
    record: RunRecords,
    ports: EnrollmentPorts,
) -> list[RecordedDevice]:
    """Write the devices of an account that the record proves, but the ledger lacks, into the journal.

    `devices` are those in IAM, and `tagged` has, by serial, the run in the tags of each virtual device, or a RunTag.
    Return the lines of the record about these devices, except those that are refused. A dry run only prints how many
    devices the ledger lacks, and returns no lines.
    """
    holders = {device.serial: device.user for device in devices}
    lines = [
        line
        for line in record.lines
        if line.key[1] in holders and tagged.get(line.key[1]) in {None, RunTag.UNTAGGED, line.run.id}
    ]
    proven = prove_devices(account, holders=holders, record=replace(record, lines=lines), ports=ports)
    for serial, why in proven.refused.items():
        ports.progress.alert(f"{serial} is not adopted: {why}")
    if number := len(proven.adopted):
        ports.progress.note(f"account {account}: {count_of(number, 'device')} {'to adopt' if ports.dry else 'adopted'}")
    if ports.dry:
        return []
    record_adopted([*proven.settled, *_half_made(account, proven, tagged, record, ports=ports)], journal=ports.journal)
    return [line.device for line in lines if line.key[1] not in proven.refused]


def _half_made(
    account: str,
    proven: ProvenDevices,
    tagged: Mapping[str, str | RunTag],
    record: RunRecords,
    *,
    ports: EnrollmentPorts,
) -> Iterator[JournalEntry]:
    """Yield an entry for each unassigned device without a line whose tags name a recorded run that has ended.

    The run was killed after it created the device, and before it wrote the line, so the device is half-made.
    """
    for serial in sorted(proven.unassigned - proven.refused.keys()):
        run = record.runs.get(str(tagged.get(serial)))
        if run is None or run.in_progress or ports.journal.lives(run.id):
            continue
        if user := ports.iam_reader.tags(serial).get(USER_TAG):
            spec = intent_of(serial, user=user, account=account, partition=serial.split(":")[1])
            yield JournalEntry(run=run.id, spec=spec, reached=JournalState.CREATED)


def runs_of_devices(
    serials: Container[str], tagged: Mapping[str, str | RunTag], record: RunRecords
) -> list[RecordedRun]:
    """Return the recorded runs that have ended and made one of an account's devices, according to a line or a tag.

    A command that adopts devices records these runs last. After a kill in between, it adopts the rest.
    """
    runs = {line.run.id for line in record.lines if line.key[1] in serials} | {*tagged.values()}
    return [run for run in record.runs.values() if run.id in runs and not run.in_progress]
