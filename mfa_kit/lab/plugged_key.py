"""Plugs in a simulated security key, as a USB device that the kernel simulates or as a card in a virtual reader."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.lab import child
from mfa_kit.lab.devices import uhid
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.ctaphid import CtapHid
from mfa_kit.lab.devices.fidocard import FidoCard
from mfa_kit.lab.devices.reader import Readers
from mfa_kit.lab.devices.securitykey import KeyBehavior, KeyModel, SimulatedKey
from mfa_kit.posix import signals

READER = "mfa-kit lab reader"
MODEL = "mfa-kit lab key"
# The time from today until the nextUpdate date of the metadata.
CURRENT = timedelta(days=30)


def plug_in_key(
    tell: Callable[[str], None],
    command: Sequence[str],
    *,
    attestation: str,
    touch: float | None,
    u2f: bool,
    pin: str | None,
    reader: bool,
    publish: Path | None,
) -> int:
    """Plug in a simulated security key, run a command, and return the command's exit status.

    Without a command, keep the key plugged in until Ctrl-C and return 0; `tell` prints the environment to export.
    `attestation` is one of the formats that KeyBehavior lists. `touch` is the time in seconds until the key's button is
    touched; None means never. With `u2f`, the key supports U2F only. With `reader`, it is a smart card in a virtual
    reader. Without `reader`, it is a USB device, or a smart card if USB cannot be simulated. FIDO metadata about the
    key is written to the folder `publish`, unless `publish` is None. Raise DeviceFault if the key cannot be simulated,
    and UsageFault if the folder cannot be used.
    """
    maker = AttestationCa(now=time.time())
    model = KeyModel(aaguid=None, versions=("U2F_V2",)) if u2f else KeyModel()
    issued = maker.certificate(model.aaguid, firmware=model.firmware)
    key = SimulatedKey(
        issued,
        model=model,
        behavior=KeyBehavior(attestation=attestation, touch=touch),
        pin=pin,
    )
    if publish:
        _publish(maker, key, issued.identifier, publish)
    if reader:
        return _in_reader(key, tell, command)
    try:
        return _on_usb(key, tell, command)
    except DeviceFault as fault:
        try:
            return _in_reader(key, tell, command)
        except DeviceFault as other:
            raise DeviceFault(f"{fault}; and {other}", f"{fault.hint}, or: {other.hint}") from None


def _publish(maker: AttestationCa, key: SimulatedKey, identifier: str, folder: Path) -> None:
    """Write blob.jwt (FIDO metadata that lists the key) and root.der (its manufacturer's root certificate) to a folder.

    `maker` is the simulated manufacturer. `identifier` is the key identifier of the attestation certificate; the
    metadata entry of a U2F key has this identifier instead of an AAGUID. Raise UsageFault if the folder cannot be
    written, or if it already contains files of these names that a lab did not write.
    """
    aaguid = key.model.aaguid.hex() if key.model.aaguid else ""
    dashed = "-".join((aaguid[:8], aaguid[8:12], aaguid[12:16], aaguid[16:20], aaguid[20:]))
    entry = maker.entry(MODEL, aaguid=dashed) if aaguid else maker.entry(MODEL, identifiers=[identifier])
    due = datetime.now(UTC).date() + CURRENT
    blob, root = folder / "blob.jwt", folder / "root.der"
    try:
        if (os.path.lexists(blob) or os.path.lexists(root)) and not _is_of_a_lab(root, maker):
            raise UsageFault(
                f"{folder} contains metadata or a root certificate that is not from a lab", "use another folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(maker.blob([entry], next_update=due))
        root.write_bytes(maker.root.der)
    except OSError as error:
        raise UsageFault(f"{folder} cannot be written: {error.strerror}", "use another folder") from None


def _is_of_a_lab(root: Path, maker: AttestationCa) -> bool:
    try:
        return x509.load_der_x509_certificate(root.read_bytes()).subject == maker.root.certificate.subject
    except (FileNotFoundError, ValueError):
        return False


def _on_usb(key: SimulatedKey, tell: Callable[[str], None], command: Sequence[str]) -> int:
    with uhid.Uhid(uhid.open_uhid(), product=key.model.product) as wire:
        thread = threading.Thread(target=CtapHid(key, wire).serve)
        thread.start()
        try:
            return _while_it_is_there({}, tell, command)
        finally:
            wire.stop()
            thread.join()


def _in_reader(key: SimulatedKey, tell: Callable[[str], None], command: Sequence[str]) -> int:
    with child.unwind_on_signals(), Readers([READER]) as readers:
        readers.insert(FidoCard(key))
        return _while_it_is_there(readers.env, tell, command)


def _while_it_is_there(env: Mapping[str, str], tell: Callable[[str], None], command: Sequence[str]) -> int:
    if command:
        return child.run_command(command, child.device_environment(os.environ, env))
    ended = threading.Event()
    for end in signals.not_ignored(child.ENDS):
        signal.signal(end, lambda *_: ended.set())
    tell(child.shell_exports(env, unset=()))
    ended.wait()
    return 0
