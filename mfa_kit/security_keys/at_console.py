"""Enrolls a security key that a person registers in the AWS console. mfa-kit examines the key first."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from mfa_kit.core.checks import Passed, Value
from mfa_kit.core.errors import DeviceFault, MfaKitError
from mfa_kit.core.interaction import Progress
from mfa_kit.core.message import Message, mfa_kit
from mfa_kit.core.models import DeviceSpec, Enrolled, JournalEntry
from mfa_kit.core.otp import Created, Pair
from mfa_kit.core.recorded_keys import KeyDevice, KeyFacts
from mfa_kit.enrollment.fido_console import Recorded
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.security_keys.attestation import Evidence, Examined, SeenBefore
from mfa_kit.security_keys.ports import SeenKeys


def accept_examined(examined: Examined | SeenBefore, progress: Progress) -> Evidence:
    """Print the model of an examined key, and return the evidence.

    Raise DeviceFault if the examination rejected the key, or if another user already got it.
    """
    if not isinstance(examined, Examined):
        raise DeviceFault("this key was already given to another user", "use another key")
    if not isinstance(examined.answer, Passed):
        why = "; ".join(f"{c.name}: {c.detail}" for c in examined.answer.checks if c.value is Value.FAIL)
        raise DeviceFault(
            f"the key was rejected: {why}",
            Message("use another key; for details", mfa_kit("verify fido2"), "to skip this check: --skip-key-check"),
        )
    model = examined.evidence.model
    progress.note(f"the key is genuine: {model.name if model else 'its model is unknown'}")
    return examined.evidence


class AwaitKey(Protocol):
    """Waits until a person has registered a key, and calls `recorded` as soon as the journal has it."""

    def __call__(self, spec: DeviceSpec, recorded: Recorded, *, ports: EnrollmentPorts, run: str) -> Enrolled:
        """Return the result. Raise MfaKitError if no key was registered."""
        ...


class AtConsole:
    """Implements DeviceBackend for a key that a person registers in AWS.

    Nothing is written to the key. `examine` examines the key, and adds the key to the SeenKeys that it is called with.
    If `examine` is None, the key is not examined. mfa-kit records the key under the label `asset`, or else under the
    serial or AAGUID that the examination found. `wait` waits until the key is registered. `given_away` has the keys
    that users already got. A key is added to `given_away` once it is registered.

    `read` takes the evidence, or None, and returns all facts under which the inserted key is recorded. It raises
    DeviceFault if it is not certain which key is meant. `record` then records in the ledger that the device is on it.
    """

    def __init__(
        self,
        examine: Callable[[SeenKeys], Examined | SeenBefore] | None,
        wait: AwaitKey,
        *,
        asset: str | None,
        given_away: SeenKeys,
        read: Callable[[Evidence | None], Sequence[KeyFacts]],
        record: Callable[[KeyFacts, KeyDevice], None],
        progress: Progress,
    ) -> None:
        self._read, self._record = read, record
        self._evidence: Evidence | None = None
        self._facts: Sequence[KeyFacts] = ()
        self._examine, self._wait, self._asset, self._progress = examine, wait, asset, progress
        self._seen = self._given_away = given_away

    def check(self, spec: DeviceSpec, *, sealed: bool) -> DeviceSpec:
        """Examine the key that is plugged in, unless that was done, and return the intent with the key's label added.

        If there is no label, serial or AAGUID, return the intent unchanged. Raise DeviceFault if the key is rejected.
        """
        label = self._asset
        if self._examine:
            if self._evidence is None:
                self._seen = self._given_away.copy()
                self._evidence = accept_examined(self._examine(self._seen), self._progress)
            evidence = self._evidence
            label = label or evidence.before.plugged.serial or evidence.registration.aaguid
        # Now, because the browser opens the key soon.
        self._read_key()
        return spec.on(hardware=label) if label else spec

    def _read_key(self) -> str:
        """Read the facts of the key, unless that was done, and return why they could not be read, or ""."""
        try:
            self._facts = self._facts or self._read(self._evidence)
        except MfaKitError as fault:
            return str(fault)
        return ""

    def install(self, spec: DeviceSpec, created: Created) -> None:
        """Never called, because a security key has no secret from AWS."""
        raise AssertionError("a security key has no secret from AWS")

    def codes(self, spec: DeviceSpec) -> Pair:
        """Never called, because a security key gives no codes."""
        raise AssertionError("a security key gives no codes")

    def check_reachable(self, entry: JournalEntry) -> None:
        """Check nothing. Nothing was stored on the key, so a removal does not need the key."""

    def remove(self, entry: JournalEntry) -> None:
        """Do nothing, because mfa-kit stores nothing on the key."""

    def register(self, spec: DeviceSpec, *, ports: EnrollmentPorts, run: str) -> Enrolled:
        """Wait until the key is registered in the console, record it, and return the enrolled device.

        After that, the key counts as given away, so `check` rejects it for another user.
        """
        return self._wait(spec, self._record_registered, ports=ports, run=run)

    def _record_registered(self, entry: JournalEntry) -> None:
        self._given_away.become(self._seen)
        fault, made = self._read_key(), entry.spec
        device = KeyDevice(account=made.account, user=made.user, serial=made.serial, run=entry.run, since=entry.since)
        if not self._facts:
            self._progress.alert(f"the ledger does not know on which key {made.serial} is: {fault}")
        for facts in self._facts or ([KeyFacts()] if self._asset else []):
            self._record(replace(facts, label=self._asset), device)
