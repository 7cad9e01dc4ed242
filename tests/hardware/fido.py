"""The contract with FIDO keys: what mfa-kit relies on, sent through its own adapter to a simulated or a real key.

Credentials are made for a domain that cannot exist, and are not resident, so the key stores nothing. The rows about the
PIN set one, so they run only on a blank key, and the last row erases it. A key without a PIN can have resident
credentials, which only a PIN shows: they are counted after the first PIN, and unless there are none, no later row runs.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fido2.ctap import CtapError
from fido2.ctap2.base import Ctap2
from fido2.webauthn import AttestedCredentialData

from mfa_kit.adapters.fido import links
from mfa_kit.adapters.fido.key import FidoKey, open_key
from mfa_kit.core.errors import DeviceFault, MfaKitError
from mfa_kit.security_keys.authenticator import KeyInfo, Pin, Registration
from tests.hardware.rows import Person, Row

PARTY = "contract.mfa-kit.invalid"
# They are no secrets: a run that is killed may leave one of them on the key, which its owner then has to reset.
FIRST, SECOND, WRONG = Pin("48203917"), Pin("73058264"), Pin("60719283")
CANCEL_AFTER = 1.0
TRIES = 8
NONE = "0 resident"


@dataclass
class FidoBench:
    """A FIDO key, and the person at it.

    `key_name` is its path. `erase` erases a blank key and returns its path then; None if the key may not be erased.
    `info` is what the key said before the rows. `unused` says that its resident credentials were counted: none.
    """

    key_name: str
    person: Person
    erase: Callable[[], str] | None = None
    unused: bool = field(init=False, default=False)
    info: KeyInfo = field(init=False)
    first: tuple[Registration, AttestedCredentialData] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        with self.open() as key:
            self.info = key.info()

    def lacks(self, needs: str) -> str | None:
        """Return why rows with this need cannot run, or None if they can."""
        match needs:
            case "ctap2" if not self.info.ctap2:
                return "the key has no CTAP2"
            case "touch" if self.person.touch is None:
                return "nobody is there to touch the key"
            case "no pin" if self.info.wants_uv:
                return "the key wants the PIN of its owner"
            case "counts" if self.info.resident_free is None:
                return "the key does not say how many fit"
            case "blank" | "unused" if not self._may_erase(counted=needs == "unused"):
                return "only for a blank key that may be erased"
        return None

    def _may_erase(self, *, counted: bool) -> bool:
        return self.erase is not None and self.info.pin_set is False and (self.unused or not counted)

    def words(self, error: MfaKitError) -> str:
        """Return the words of an error without the name of the reader or node."""
        return str(error).replace(self.key_name, "the key")

    @contextmanager
    def open(self) -> Iterator[FidoKey]:
        """Open the key, as a new program does."""
        with open_key(self.key_name, tell=self.person.say, relying_party=PARTY) as key:
            yield key

    def registration(self) -> tuple[Registration, AttestedCredentialData]:
        """Register, or return what the key did at the first time, so that the person touches it less often."""
        if self.first is None:
            with self.open() as key:
                self.first = registered(key), AttestedCredentialData(key.credential)
        return self.first

    def now(self) -> KeyInfo:
        """Read what the key says now."""
        with self.open() as key:
            return key.info()

    def clear(self) -> str:
        """Return whether the key has the PIN and the room that it had. The row `reset` removed the PIN."""
        now = self.now()
        same = (now.pin_set, now.resident_free) == (self.info.pin_set, self.info.resident_free)
        return "nothing is left" if same else "a PIN or a resident credential"


def registered(key: FidoKey, pin: Pin | None = None) -> Registration:
    found = key.register(verify=pin is not None, pin=pin)
    if found is None:
        raise DeviceFault("the key says that it has the credential", "")
    return found


def flags(present: bool, verified: bool, flaw: str | None) -> str:
    said = [flaw or "valid", "touched" if present else "not touched", "verified" if verified else "not verified"]
    return ", ".join(said)


def again(bench: FidoBench) -> str:
    info = bench.now()
    same = (info.aaguid, info.versions, info.firmware) == (bench.info.aaguid, bench.info.versions, bench.info.firmware)
    return "the same again" if same else "another"


def register(bench: FidoBench) -> str:
    found, _ = bench.registration()
    return flags(found.present, found.verified, found.flaw)


def attestation(pick: Callable[[Registration, KeyInfo], str]) -> Callable[[FidoBench], str]:
    return lambda bench: pick(bench.registration()[0], bench.info)


def assertion(bench: FidoBench) -> str:
    with bench.open() as key:
        before = registered(key)
        found = key.assertion(verify=False, pin=None)
        counts = found.counter > before.counter or found.counter == before.counter == 0
        return flags(found.present, found.verified, found.flaw) + (", counted" if counts else ", counted backwards")


def excluded(*, own: bool) -> Callable[[FidoBench], str]:
    """Register again. The key's own credential is known, and one with another ID is not."""

    def ask(bench: FidoBench) -> str:
        _, made = bench.registration()
        identifier = made.credential_id if own else made.credential_id[:-1] + bytes([made.credential_id[-1] ^ 1])
        known = AttestedCredentialData.create(made.aaguid, identifier, made.public_key)
        with bench.open() as key:
            return "known" if key.register(verify=False, pin=None, known=[bytes(known)]) is None else "made"

    return ask


def nothing_kept(bench: FidoBench) -> str:
    """Compare the room with that before the first registration."""
    bench.registration()
    before, after = bench.info.resident_free, bench.now().resident_free
    return "no room is used" if before == after else f"{before} fitted, now {after}"


def canceled(bench: FidoBench) -> str:
    """Cancel a request as soon as the key says that it waits for a touch, as Ctrl-C may. Then it must answer again.

    A key that never says so is canceled after CANCEL_AFTER seconds.
    """
    event = threading.Event()
    with bench.person.away(), key_device(bench) as device:
        timer = threading.Timer(CANCEL_AFTER, event.set)
        timer.start()
        try:
            Ctap2(device).make_credential(
                bytes(32),
                {"id": PARTY, "name": PARTY},
                {"id": bytes(16), "name": "contract"},
                [{"type": "public-key", "alg": -7}],
                event=event,
                on_keepalive=lambda _: event.set(),
            )
            did = "made a credential"
        except CtapError as error:
            did = f"CTAP status 0x{error.code:02x}"
        finally:
            timer.cancel()
        return f"{did}, then {'answers' if Ctap2(device).get_info().aaguid else 'does not answer'}"


@contextmanager
def key_device(bench: FidoBench) -> Iterator[links.BoundedDevice]:
    """Open the key below the adapter, which itself cancels only with Ctrl-C."""
    device = links.open_device(links.find_key(bench.key_name))
    try:
        yield device
    finally:
        device.close()


def timed_out(bench: FidoBench) -> str:
    with bench.person.away(), bench.open() as key:
        try:
            registered(key)
            did = "made a credential"
        except DeviceFault as fault:
            did = bench.words(fault)
    return f"{did}; then {'answers' if bench.now().versions else 'does not answer'}"


def tries(bench: FidoBench) -> str:
    info = bench.now()
    return "no PIN" if not info.pin_set else f"a PIN, {info.pin_retries} tries"


def pin_set(bench: FidoBench) -> str:
    with bench.open() as key:
        key.set_pin(FIRST)
    return tries(bench)


def pin_set_again(bench: FidoBench) -> str:
    """Set a first PIN once more. The key must refuse it, and keep the one that it has."""
    with bench.open() as key:
        try:
            key.set_pin(WRONG)
            did = "accepted"
        except DeviceFault:
            did = "refused"
    with bench.open() as key:
        key.try_pin(FIRST)
    return f"{did}, the PIN is the same"


def pin_wrong(bench: FidoBench) -> str:
    with bench.open() as key:
        key.info()
        key.try_pin(WRONG)
        return "accepted"


def pin_right(pin: Pin) -> Callable[[FidoBench], str]:
    def ask(bench: FidoBench) -> str:
        with bench.open() as key:
            key.try_pin(pin)
        return tries(bench)

    return ask


def pin_change_wrong(bench: FidoBench) -> str:
    with bench.open() as key:
        key.info()
        key.change_pin(WRONG, SECOND)
        return "accepted"


def pin_change(bench: FidoBench) -> str:
    with bench.open() as key:
        key.change_pin(FIRST, SECOND)
        key.try_pin(SECOND)
    return tries(bench)


def pin_registers(bench: FidoBench) -> str:
    with bench.open() as key:
        found = registered(key, SECOND)
        return flags(found.present, found.verified, found.flaw)


def pin_asserts(bench: FidoBench) -> str:
    with bench.open() as key:
        registered(key, SECOND)
        found = key.assertion(verify=True, pin=SECOND)
        return flags(found.present, found.verified, found.flaw)


def without_pin(bench: FidoBench) -> str:
    """Register without the PIN. The key must do what its option makeCredUvNotRqd says."""
    wants = bench.now().wants_uv
    with bench.open() as key:
        try:
            found = registered(key)
        except DeviceFault as fault:
            return "as getInfo says" if wants else bench.words(fault)
        return "as getInfo says" if not wants and not found.verified else "made a credential"


def residents(bench: FidoBench, pin: Pin = SECOND) -> str:
    with bench.open() as key:
        used, _ = key.residents(pin)
        return f"{used} resident"


def unused(bench: FidoBench) -> str:
    """Count the credentials that only a PIN shows. Unless there are none, the owner gets the PIN, and keeps them."""
    try:
        did = residents(bench, FIRST)
        bench.unused = did == NONE
        return did
    finally:
        if not bench.unused:
            said = "is not erased, because it may have passkeys; if it has a PIN now, it is"
            bench.person.tell(f"the key {said} {FIRST.reveal()}")


def three_wrong(bench: FidoBench) -> str:
    with bench.open() as key:
        key.info()
        for _ in range(2):
            try:
                key.try_pin(WRONG)
            except DeviceFault:
                continue
            return "accepted"
        key.try_pin(WRONG)
        return "accepted"


def reset(bench: FidoBench) -> str:
    if bench.erase:
        bench.key_name = bench.erase()
    return tries(bench)


TOUCH, BLANK = ("touch", "no pin"), ("ctap2", "blank", "unused")
ROWS: tuple[Row[FidoBench], ...] = (
    Row("info", "CTAP2, an AAGUID", lambda bench: "CTAP2, an AAGUID" if bench.info.aaguid else "no AAGUID", ("ctap2",)),
    Row("info-again", "the same again", again),
    Row("register", "valid, touched, not verified", register, TOUCH),
    Row("format", "packed", attestation(lambda found, _: found.format), ("ctap2", *TOUCH)),
    Row(
        "statement",
        "signed with the manufacturer's certificate",
        attestation(lambda found, _: str(found.statement)),
        TOUCH,
    ),
    Row(
        "aaguid",
        "as in getInfo",
        attestation(lambda found, info: "as in getInfo" if found.aaguid == info.aaguid else f"{found.aaguid}"),
        TOUCH,
    ),
    Row("algorithm", "-7", attestation(lambda found, _: f"{found.algorithm}"), TOUCH),
    Row("assertion", "valid, touched, not verified, counted", assertion, TOUCH),
    Row("excluded", "known", excluded(own=True), TOUCH),
    Row("not-excluded", "made", excluded(own=False), TOUCH),
    Row("nothing-kept", "no room is used", nothing_kept, ("ctap2", "counts", *TOUCH)),
    Row("cancel", "CTAP status 0x2d, then answers", canceled, ("ctap2", *TOUCH)),
    Row("no-touch", "the key was not touched; then answers", timed_out, ("ctap2", *TOUCH)),
    Row("pin-set", f"a PIN, {TRIES} tries", pin_set, ("ctap2", "blank")),
    Row("unused", NONE, unused, ("ctap2", "blank")),
    Row("pin-set-again", "refused, the PIN is the same", pin_set_again, BLANK),
    Row("pin-wrong", f"the PIN is wrong; {TRIES - 1} tries are left", pin_wrong, BLANK),
    Row("pin-right", f"a PIN, {TRIES} tries", pin_right(FIRST), BLANK),
    Row("pin-change-wrong", f"the PIN is wrong; {TRIES - 1} tries are left", pin_change_wrong, BLANK),
    Row("pin-change", f"a PIN, {TRIES} tries", pin_change, BLANK),
    Row("pin-register", "valid, touched, verified", pin_registers, (*BLANK, "touch")),
    Row("pin-assertion", "valid, touched, verified", pin_asserts, (*BLANK, "touch")),
    Row("pin-not-required", "as getInfo says", without_pin, (*BLANK, "touch")),
    Row("residents", NONE, residents, BLANK),
    Row(
        "pin-three-wrong",
        f"the key accepts no PIN until it is unplugged; {TRIES - 3} tries are left",
        three_wrong,
        BLANK,
    ),
    Row("reset", "no PIN", reset, BLANK),
)
