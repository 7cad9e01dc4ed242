"""Tests of keys that are prepared for a profile: over HID and in a reader, pulled and killed at each step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pyrage
import pytest
from pyrage.x25519 import Identity

from mfa_kit.adapters.fido import key as fido
from mfa_kit.adapters.fido.key import FidoKey
from mfa_kit.core.errors import DeviceFault, RefusedPin
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.securitykey import KeyBehavior, SimulatedKey, lab_key
from mfa_kit.letters.sheet import Paper
from mfa_kit.security_keys.authenticator import Pin, PluggedKey
from mfa_kit.security_keys.preparing import TRIES, KeyPreparation, PreparedKey
from mfa_kit.security_keys.profile import parse_profile
from mfa_kit.wiring.files import LetterFile
from mfa_kit.wiring.security_keys import SealedPinFile, _random_digits
from tests.fido import slot
from tests.fido.conftest import Bus, has
from tests.letters.judges import text_of

OLD = "pin-5839-canary"
READER = "Contactless reader 00 00"
WHOLE: dict[str, object] = {
    "reset": True,
    "pin": "random",
    "pin-length": 8,
    "min-pin-length": 8,
    "force-pin-change": True,
    "always-uv": True,
}


@dataclass
class Table:
    """A desk with one key, the file for its PIN, and a person who types the PIN that they decrypt from the file."""

    path: Path
    identity: Identity = field(default_factory=Identity.generate)
    said: list[str] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)
    erased: list[PluggedKey] = field(default_factory=list)
    letter: LetterFile | None = None

    @property
    def file(self) -> SealedPinFile:
        return SealedPinFile(self.path, [str(self.identity.to_public())], self.letter)

    @property
    def sealed(self) -> str | None:
        """The PIN in the file, or None if there is no file."""
        if not self.path.exists():
            return None
        return pyrage.decrypt(self.path.read_bytes(), [self.identity]).decode().splitlines()[0]

    # NewPinEntry and Progress
    def pin(self, _: int | None) -> Pin:
        return Pin(self.typed.pop(0) if self.typed else self.sealed or "no PIN is known")

    def new(self, _: int) -> Pin:
        return Pin(self.typed.pop(0))

    def risk(self, _: int) -> None:
        raise AssertionError("no wrong PIN is tried")

    def replugged(self, _: int | None) -> bool:
        return False

    def note(self, text: str) -> None:
        self.said.append(text)

    alert = note

    # PluggedKeys
    @contextmanager
    def open(self, key_name: str | None, *, relying_party: str | None = None) -> Iterator[FidoKey]:
        with fido.open_key(key_name, tell=self.note, relying_party=relying_party) as opened:
            yield opened

    def look(self) -> Any:
        raise AssertionError("the key is known")

    state = look

    def preparation(self, settings: dict[str, object], random_pin: Callable[[int], Pin]) -> KeyPreparation:
        profile = parse_profile("desk", {**settings, "recipients": [str(self.identity.to_public())]})
        return KeyPreparation(
            profile=profile,
            keys=self,
            pins=PreparedKey(self),
            random_pin=random_pin,
            progress=self,
        )

    def begin(self, preparation: KeyPreparation, place: str, *, keep: bool = False) -> None:
        """Erase the key if the profile does so and it is not to be kept, and prepare it."""
        if preparation.profile.reset and not keep:
            with self.open(place) as opened:
                before = opened.info()
            preparation.reset(before, self.file, oath=None, erased=lambda: self.erased.append(before.plugged))
        preparation.prepare(place, self.file, oath=None)

    def prepare(
        self,
        settings: dict[str, object],
        place: str,
        *,
        keep: bool = False,
        finish: bool = True,
        random_pin: Callable[[int], Pin] = _random_digits,
    ) -> None:
        """Prepare the key and do the last step, as the station does before and after the enrollment."""
        preparation = self.preparation(settings, random_pin)
        self.begin(preparation, place, keep=keep)
        if finish:
            preparation.finish(place)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path / "secrets" / "alice.pin.age")


@pytest.fixture(params=["hid", "ccid"])
def plug(request: pytest.FixtureRequest, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> Callable[[SimulatedKey], str]:
    """Plug a key in, into USB or into a reader, and return where it is."""

    def insert(key: SimulatedKey) -> str:
        bus.unplug()
        key.power_up()
        if request.param == "hid":
            bus.plug(key, serial="KEY-7")
            return "/dev/hidraw0"
        slot.seen(slot.Reader(key), monkeypatch)
        return READER

    return insert


def is_prepared(key: SimulatedKey, table: Table) -> bool:
    """Return whether the key has all that WHOLE says, and the PIN in the file."""
    pin = key.client_pin
    return bool(table.sealed and has(key, table.sealed) and pin.shortest == 8 and pin.force_change and key.always_uv)


def test_a_key_gets_everything_in_one_insertion(
    table: Table, maker: AttestationCa, plug: Callable[[SimulatedKey], str]
) -> None:
    """The old PIN and credentials are erased. The new PIN is only in the file."""
    key = lab_key(maker, pin=OLD)
    key.resident.append(("example.org", b"credential"))
    table.prepare(WHOLE, plug(key))
    assert is_prepared(key, table)
    assert (key.resident, len(table.erased), table.path.stat().st_mode & 0o777) == ([], 1, 0o600)
    sealed = table.sealed or ""
    assert len(sealed) == 8
    assert sealed not in "\n".join(table.said)


def test_the_change_is_forced_last(table: Table, maker: AttestationCa, plug: Callable[[SimulatedKey], str]) -> None:
    """Before the enrollment, the key still accepts its PIN, which python-fido2 then needs."""
    key = lab_key(maker)
    place = plug(key)
    preparation = table.preparation(WHOLE, _random_digits)
    table.begin(preparation, place)
    assert (key.client_pin.force_change, key.always_uv, preparation.pins.known is None) == (False, True, False)
    with table.open(place) as opened:
        assert opened.register(verify=True, pin=preparation.pins.pin(None))
    preparation.finish(place)
    assert (key.client_pin.force_change, preparation.pins.known) == (True, None)


def test_a_key_that_lacks_a_part_is_refused_as_a_whole(
    table: Table, maker: AttestationCa, plug: Callable[[SimulatedKey], str]
) -> None:
    """Not even the reset is done, and no PIN is written."""
    key = lab_key(maker, pin=OLD, behavior=KeyBehavior(configurable=False))
    with pytest.raises(DeviceFault, match=r"lacks parts of profile desk: min-pin-length.*force-pin.*always-uv"):
        table.prepare(WHOLE, plug(key))
    assert (has(key, OLD), table.path.exists(), table.erased) == (True, False, [])


def test_a_reset_that_comes_too_late_changes_nothing(
    table: Table, maker: AttestationCa, plug: Callable[[SimulatedKey], str]
) -> None:
    key = lab_key(maker, pin=OLD, behavior=KeyBehavior(reset_within=-1.0))
    with pytest.raises(DeviceFault, match="only in the first ten seconds"):
        table.prepare(WHOLE, plug(key))
    assert (has(key, OLD), table.path.exists()) == (True, False)


def test_a_key_with_a_longer_minimum_is_refused_after_the_reset(
    table: Table, maker: AttestationCa, plug: Callable[[SimulatedKey], str]
) -> None:
    """A reset lowers the minimum, but not below that of a new key."""
    key = lab_key(maker, shortest_pin=10)
    with pytest.raises(DeviceFault, match="pin-length: a PIN of this key has 10 to 63 characters, not 8"):
        table.prepare(WHOLE, plug(key))
    assert (key.client_pin.hash, table.path.exists()) == (None, False)


def test_alwaysuv_is_not_switched_off(table: Table, maker: AttestationCa, plug: Callable[[SimulatedKey], str]) -> None:
    """The command is a toggle, so the option is read first."""
    key = lab_key(maker, behavior=KeyBehavior(always_uv=True))
    table.prepare(WHOLE, plug(key))
    assert key.always_uv


def test_a_refused_pin_is_made_again(table: Table, maker: AttestationCa, plug: Callable[[SimulatedKey], str]) -> None:
    """The file of a refused PIN is replaced, and the letter has the PIN that the key has."""
    table.letter = LetterFile(path=table.path.parent.parent / "letter.pdf", paper=Paper.A4)
    key, refused = lab_key(maker), list[str]()

    def refuses(pin: str) -> bool:
        refused.append(pin)
        assert table.sealed == pin
        return len(refused) < TRIES

    key.client_pin.refuses = refuses
    table.prepare(WHOLE, plug(key))
    assert is_prepared(key, table)
    assert len(set(refused)) == TRIES
    assert table.sealed == refused[-1]
    assert refused[-1][:4] in text_of(table.letter.path)


def test_no_file_is_left_if_all_pins_are_refused(
    table: Table, maker: AttestationCa, plug: Callable[[SimulatedKey], str]
) -> None:
    key = lab_key(maker)
    key.client_pin.refuses = lambda _: True
    with pytest.raises(RefusedPin, match="the key refused 5 random PINs of 8 digits, so it has none"):
        table.prepare(WHOLE, plug(key))
    assert (table.path.exists(), key.client_pin.hash) == (False, None)


def test_a_typed_pin_is_checked_before_it_is_set(
    table: Table, maker: AttestationCa, plug: Callable[[SimulatedKey], str]
) -> None:
    """A key would demand another PIN if its PIN is shorter than the new minimum."""
    key, settings = lab_key(maker), {"pin": "typed", "min-pin-length": 8}
    table.typed = ["1234567"]
    with pytest.raises(DeviceFault, match="needs a PIN of at least 8 characters"):
        table.prepare(settings, plug(key))
    assert key.client_pin.hash is None
    table.typed = ["12345678"]
    table.prepare(settings, plug(key))
    assert (has(key, "12345678"), key.client_pin.shortest, table.path.exists()) == (True, 8, False)


def test_a_pin_that_an_earlier_run_set_is_asked_for(
    table: Table, maker: AttestationCa, plug: Callable[[SimulatedKey], str]
) -> None:
    """The key is not reset, because it already has a device of its user. One sentence says where the PIN is."""
    key = lab_key(maker)
    table.prepare(WHOLE, plug(key), finish=False)
    before = table.sealed
    table.said.clear()
    table.prepare(WHOLE, plug(key), keep=True)
    assert is_prepared(key, table)
    assert (table.sealed, len(table.erased)) == (before, 1)
    [said] = [text for text in table.said if "already has a PIN" in text]
    assert f"age -d -i IDENTITY {table.path}" in said


def test_a_key_with_an_unknown_pin_is_refused(
    table: Table, maker: AttestationCa, plug: Callable[[SimulatedKey], str]
) -> None:
    key = lab_key(maker, pin=OLD)
    with pytest.raises(DeviceFault, match="already has a PIN, and the profile does not reset the key"):
        table.prepare({**WHOLE, "reset": False}, plug(key))
    assert (key.client_pin.tries, table.path.exists()) == (0, False)


def test_a_key_that_applies_nothing_is_noticed(
    table: Table, maker: AttestationCa, plug: Callable[[SimulatedKey], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key accepts the toggle, but does nothing."""
    key = lab_key(maker)
    monkeypatch.setattr(FidoKey, "toggle_always_uv", lambda *_: None)
    with pytest.raises(DeviceFault, match="does not report what profile desk wrote to it: alwaysUv is missing"):
        table.prepare(WHOLE, plug(key))


@pytest.mark.parametrize("keep", [False, True], ids=["reset", "keep"])
@pytest.mark.parametrize("link", ["hid", "ccid"])
def test_a_key_pulled_at_any_answer_is_prepared_by_the_next_run(
    bus: Bus, maker: AttestationCa, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, link: str, keep: bool
) -> None:
    """After each cut, the key has no PIN, or the file has its PIN. The key is inserted again and gets everything."""
    for last in count(1):
        table, key = Table(tmp_path / f"{last}" / "pin.age"), lab_key(maker)
        table.path.parent.mkdir()
        bus.unplug()
        place = READER if link == "ccid" else "/dev/hidraw0"
        if link == "hid":
            bus.plug(key, tamper=lambda number, packet, last=last: packet if number < last else None)
        else:
            slot.seen(slot.Reader(key, pulled_at=last), monkeypatch)
        try:
            table.prepare(WHOLE, place, keep=keep)
        except DeviceFault:
            assert key.client_pin.hash is None or (table.sealed and has(key, table.sealed))
        else:
            assert last > 20
            break
        was_forced = key.client_pin.force_change
        bus.unplug()
        key.power_up()
        if link == "hid":
            bus.plug(key)
        else:
            slot.seen(slot.Reader(key), monkeypatch)
        if was_forced and keep:
            # The last step was done, only its answer was lost. `finish` alone finds that out.
            table.preparation(WHOLE, _random_digits).finish(place)
        else:
            table.prepare(WHOLE, place, keep=keep)
        assert is_prepared(key, table), last


STEPS = ("reset", "set_pin", "set_pin_policy", "toggle_always_uv")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_process_killed_at_any_step_is_continued(
    table: Table, maker: AttestationCa, bus: Bus, monkeypatch: pytest.MonkeyPatch, step: str, moment: str
) -> None:
    """A step counts for the kill when the key has the request, and also when its answer was not read."""
    key = lab_key(maker)
    bus.plug(key, serial="KEY-7")
    real = getattr(FidoKey, step)

    def kill(opened: FidoKey, *args: Any, **how: Any) -> None:
        if moment == "after":
            real(opened, *args, **how)
        raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(FidoKey, step, kill)
        with suppress(_Killed):
            table.prepare(WHOLE, "/dev/hidraw0")
    assert key.client_pin.hash is None or (table.sealed and has(key, table.sealed))
    bus.unplug()
    key.power_up()
    bus.plug(key, serial="KEY-7")
    table.prepare(WHOLE, "/dev/hidraw0")
    assert is_prepared(key, table)


class _Killed(BaseException):
    """Ends the process in place of SIGKILL: no code of mfa-kit catches it."""
