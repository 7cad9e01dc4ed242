"""Enables staged devices. `apply` created these with an encrypted backup, but did not assign them to a user."""

from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from mfa_kit.core.errors import Expired, Throttled, UsageFault
from mfa_kit.core.models import JournalEntry, JournalState
from mfa_kit.core.otp import PERIOD, Created
from mfa_kit.enrollment.backends import BackupAlone
from mfa_kit.enrollment.making import enable_sealed
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.rollout.execution import (
    Execution,
    RowOutcome,
    RowResult,
    confirm_devices,
    run_row,
    take_over_runs,
)
from mfa_kit.rollout.proofs import AppProof, ProofLine
from mfa_kit.rollout.row_status import STANDS


def staged_entries(made: Iterable[JournalEntry], users: Container[str] | None) -> list[JournalEntry]:
    """Return the journal entries of the staged devices of `users` (in lower case), or of all users if it is None.

    `made` are the entries of an account. A staged device is created and backed up, but not assigned to its user yet.
    """
    return [
        entry
        for entry in made
        if entry.reached is JournalState.STAGED and (users is None or entry.spec.user.lower() in users)
    ]


def check_proofs(
    entries: Sequence[JournalEntry],
    *,
    open_backup: Callable[[JournalEntry], Created],
    execution: Execution,
    require_proof: Callable[[JournalEntry, Created], AppProof] | None,
    check_arrival: Callable[[JournalEntry], None],
) -> Generator[RowResult, None, None]:
    """For each staged device, yield a result that says whether the user proved that their app works.

    No device is enabled. `require_proof` and `check_arrival` are as in `activate_devices`.
    """

    def check(entry: JournalEntry) -> RowResult:
        check_arrival(entry)
        if require_proof is None:
            return RowResult.of_entry(entry, RowOutcome.STAGED)
        return result_of_proof(entry, require_proof(entry, open_backup(entry)), RowOutcome.STAGED)

    yield from execution.process_devices(entries, check, fatal=())


def result_of_proof(entry: JournalEntry, proof: AppProof | None, outcome: RowOutcome) -> RowResult:
    """Return the result for a device, with the offset of the phone's clock (in seconds) if a proof shows it."""
    if proof is None:
        return RowResult.of_entry(entry, outcome)
    offset = None if proof.offset is None else round(proof.offset)
    return replace(RowResult.of_entry(entry, outcome, str(proof)), clock_offset=offset)


NONE_STAGED = "no device is staged for this user on this computer; check the spelling"
LOST_KEY = "the key that was sent to this user is recorded as lost, and no other one is prepared"


def results_without_device(
    lines: Mapping[str, Sequence[ProofLine]],
    *,
    staged: Container[str],
    ours: Iterable[JournalEntry],
    lost: Container[str] = (),
) -> Iterator[RowResult]:
    """Yield the results of the users in `lines` who have no staged device on this computer.

    `lines` maps each user to the lines of the file of proofs. `lines`, `staged` and `lost`, the users whose last key
    was lost, have the users in lower case. `ours` are the journal entries of the account. For a user whose device is
    already enabled, the outcome is ENROLLED, so that the same file can be used again after lines were added.
    """
    enabled = {entry.spec.user.lower(): entry for entry in ours if entry.reached in STANDS}
    for user, user_lines in lines.items():
        if user in staged:
            continue
        if (entry := enabled.get(user)) and user not in lost:
            yield RowResult.of_earlier(entry)
            continue
        yield _without_device(user_lines, LOST_KEY if user in lost else NONE_STAGED)


def _without_device(lines: Sequence[ProofLine], why: str) -> RowResult:
    """Return the result for the lines of one user, or for a line without a user, which has a fault."""
    where = ", ".join(f"line {line.number}" for line in lines)
    fault = "; ".join(line.fault for line in lines if line.fault and not line.user)
    name, reason = lines[0].user or where, f"{where}: {fault or why}"
    return RowResult(user=name, outcome=RowOutcome.FAILED, cause=UsageFault.__name__, reason=reason)


def activate_devices(
    entries: Sequence[JournalEntry],
    *,
    open_backup: Callable[[JournalEntry], Created],
    ports: EnrollmentPorts,
    execution: Execution,
    check_arrival: Callable[[JournalEntry], None],
    require_proof: Callable[[JournalEntry, Created], AppProof] | None = None,
    record_proof: Callable[[JournalEntry], None] = lambda _: None,
) -> Generator[RowResult, None, None]:
    """Enable staged devices with the secrets that `open_backup` returns. Yield one result per device.

    `require_proof` returns the proof that the user's app works. If there is no proof, it raises Lockout, and the device
    is not enabled. `check_arrival` raises Lockout for a key that was sent by post and has not arrived. `record_proof`
    records the proof of a device that was enabled. After an interruption, a second call continues with the remaining
    devices. Raise UsageFault if a run that staged one of the devices is still in progress. Raise Throttled or Expired
    if AWS keeps throttling, or if the credentials have expired.
    """
    take_over_runs(entries, ports=ports)
    enabled: list[JournalEntry] = []

    def enable(entry: JournalEntry) -> RowResult:
        check_arrival(entry)
        proof, backend = None, execution.backend()
        try:
            created = open_backup(entry)
            if require_proof:
                proof = require_proof(entry, created)
                skew = proof.skew * PERIOD  # by how much the phone's clock is ahead, in seconds
                backend = BackupAlone(lambda: ports.iam_reader.now() + skew)
            enable_sealed(entry, backend, created, ports=ports)
        finally:
            backend.remove(entry)
        return result_of_proof(entry, proof, RowOutcome.ENROLLED)

    def activate(entry: JournalEntry) -> RowResult:
        # A backup that cannot be read (IntegrityFault) concerns one user only.
        result = run_row(entry.spec, lambda: enable(entry), run=entry.run, fatal=(Throttled, Expired))
        if result.outcome is RowOutcome.ENROLLED:
            # If the process is killed in between, the device is still staged in the journal, so this is done again.
            if require_proof:
                record_proof(entry)
            enabled.append(ports.journal.record(entry.at(JournalState.ENABLED)))
        return result

    try:
        yield from execution.process_devices(entries, activate)
    finally:
        confirm_devices(enabled, ports=ports, execution=execution)
