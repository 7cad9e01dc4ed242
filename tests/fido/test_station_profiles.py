"""Tests of a station with profiles: each key is erased, gets its PIN and its rules, is registered, and is finished."""

import json
import os
import signal
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pyrage
import pytest
from fido2 import hid
from fido2.hid.base import HidDescriptor

from mfa_kit.adapters.fido.key import FidoKey
from mfa_kit.cli import terminal
from mfa_kit.core.errors import Declined, DeviceFault, LostError
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.fidocard import FidoCard
from mfa_kit.lab.devices.oathcard import Credential, YkoathCard
from mfa_kit.lab.devices.securitykey import KeyBehavior, SimulatedKey, lab_key
from mfa_kit.security_keys.authenticator import Pin
from mfa_kit.wiring import browser, security_keys
from mfa_kit.wiring.lab import register_fido_key
from mfa_kit.wiring.security_keys import SealedPinFile
from tests import pcsc
from tests.conftest import COUNTED, Result
from tests.fido.conftest import Desk, Port, Published, has
from tests.fido.seam import SocketConnection, descriptor
from tests.fido.test_profile import configure
from tests.fido.test_station import registered
from tests.letters.judges import text_of
from tests.oath.test_maker import TwoApplets
from tests.rollout.conftest import key_file
from tests.rollout.person import Act, AtStation
from tests.sizes import sample
from tests.tokens.person import Person

__all__ = ["registered"]
pytestmark = pytest.mark.slow
OLD = "pin-5839-canary"
WHOLE = """
reset = true
pin = "random"
pin-length = 8
min-pin-length = 8
force-pin-change = true
always-uv = true
"""


@dataclass
class Ports:
    """USB ports whose keys are in the process of the test, so that they outlive a killed command."""

    folder: Path
    inside: dict[str, str] = field(default_factory=dict)
    paths: dict[int, Port] = field(default_factory=dict)

    def plug(self, key: SimulatedKey, serial: str | None) -> None:
        """Plug a key in, in place of any other. A serial is None for a key that reports none."""
        key.power_up()
        if id(key) not in self.paths:
            self.paths[id(key)] = Port(self.folder / str(len(self.paths)), key)
        self.inside = {str(self.paths[id(key)].path): serial or ""}

    def unplug(self) -> None:
        self.inside = {}

    def descriptors(self) -> list[HidDescriptor]:
        return [descriptor(path, serial=serial or None) for path, serial in self.inside.items()]

    def open(self, of: HidDescriptor) -> SocketConnection:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(str(of.path))
        return SocketConnection(sock)


@pytest.fixture
def ports(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ports]:
    pcsc.clear()
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"ports-{os.getpid()}-{tmp_path_factory.mktemp('p').name}"
    folder.mkdir()
    ports = Ports(folder)
    monkeypatch.setattr(hid, "list_descriptors", ports.descriptors)
    monkeypatch.setattr(hid, "open_connection", ports.open)
    yield ports
    for port in ports.paths.values():
        port.close()
    folder.rmdir()


@dataclass
class Rig:
    """A plan for some users with the profile `desk`, and a person at the station."""

    desk: Desk
    folder: Path
    published: Published
    identity: pyrage.x25519.Identity
    ports: Ports
    lab: Lab

    def configure(self, table: str = WHOLE) -> None:
        configure(self.desk, f'[profile.desk]\n{table}\nrecipients = ["{self.identity.to_public()}"]\n')

    def plan(self, *rows: str, columns: str = "user,kind") -> None:
        (self.folder / "roster.csv").write_text("\n".join([columns, *rows]) + "\n")
        assert self.desk.run("rollout", "plan", self.folder / "roster.csv", "-o", self.folder / "plan.json").code == 0

    def insert(self, key: SimulatedKey, serial: str | None = "KEY-7") -> Act:
        """Plug a key in after the previous one is removed."""
        return self.ports.unplug, partial(self.ports.plug, key, serial)

    def station(self, *acts: str | Act, codes: Sequence[str] = (), more: Sequence[str | Path] = ()) -> Result:
        person = AtStation(*acts, codes=codes)
        plan = self.folder / "plan.json"
        options = ("--key-profile", "desk", "--timeout", "20", "--no-touch", *self.published.options, *more)
        with person.there():
            done = self.desk.run("rollout", "station", plan, *options)
        return Result(done.code, done.out, "\n".join([done.err, *person.asked, *person.told]))

    @property
    def secrets(self) -> list[Path]:
        return sorted((self.folder / "plan-results" / "secrets").glob("*"))

    def sealed(self) -> str | None:
        """Return the only PIN that is encrypted in the folder of results, or None."""
        files = [path for path in self.secrets if path.name.endswith(".pin.age")]
        assert len(files) <= 1
        return pyrage.decrypt(files[0].read_bytes(), [self.identity]).decode().splitlines()[0] if files else None

    def is_done(self, key: SimulatedKey) -> bool:
        """Return whether a key has all that WHOLE says, and nothing is left to do."""
        pin, sealed = key.client_pin, self.sealed()
        whole = sealed and has(key, sealed) and pin.shortest == 8 and pin.force_change and key.always_uv
        return bool(whole) and not [path for path in self.secrets if path.suffix == ".unfinished"]


@pytest.fixture
def in_console(registered: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Register keys as `registered` does, but over HTTP, because a forked process has its own copy of the lab."""
    monkeypatch.setattr(Lab, "register_fido", lambda _, user, name: register_fido_key(user, name))
    return registered


@pytest.fixture
def rig(
    desk: Desk,
    tmp_path: Path,
    published: Published,
    identity: pyrage.x25519.Identity,
    ports: Ports,
    at_lab: Lab,
) -> Rig:
    rig = Rig(desk, tmp_path, published, identity, ports, at_lab)
    rig.configure()
    return rig


def test_one_insertion_does_everything(
    rig: Rig, maker: AttestationCa, users: Callable[[], str], registered: list[str]
) -> None:
    """The consent is asked before the key is inserted. Nothing secret is in the output."""
    user, key = users(), lab_key(maker, pin=OLD)
    rig.plan(f"{user},fido2")
    done = rig.station(rig.insert(key))
    assert done.code == 0, done.err
    [sealed] = [path for path in rig.secrets if path.name.endswith(".pin.age")]
    assert f"when a browser asks for it: age -d -i IDENTITY '{sealed}'" in done.err, done.err
    assert (registered, rig.is_done(key)) == ([user], True)
    assert "will be erased at once" in done.err
    assert "Safari on macOS" in done.err
    assert [path.name for path in rig.secrets] == [f"{user}~{user}~KEY-7.pin.age"]
    assert (rig.sealed() or "-") not in done.err + done.out


def test_a_key_that_belongs_to_somebody_is_not_touched(
    rig: Rig, maker: AttestationCa, users: Callable[[], str], registered: list[str]
) -> None:
    """Neither in this session nor in the next one. The next key is used."""
    people, mine, other = sorted([users(), users()]), lab_key(maker), lab_key(maker)
    rig.plan(*[f"{user},fido2" for user in people])
    done = rig.station(rig.insert(mine), rig.insert(mine), "q")
    assert (done.code, registered) == (1, people[:1])
    before = mine.client_pin.hash
    assert f"belongs to {people[0]}" in done.err
    done = rig.station(rig.insert(mine), rig.insert(other, "KEY-8"))
    assert done.code == 0, done.err
    assert (registered, mine.client_pin.hash) == (people, before)


@pytest.mark.usefixtures("registered")
def test_a_key_of_the_ledger_alone_is_not_erased(
    rig: Rig, maker: AttestationCa, users: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal of this computer does not know the key, but the ledger has seen it with a device."""
    people, key = sorted([users(), users()]), lab_key(maker)
    rig.plan(*[f"{user},fido2" for user in people])
    assert rig.station(rig.insert(key), "q").code == 1
    for name in ("find_holder", "find_owner"):
        monkeypatch.setattr(f"mfa_kit.rollout.key_slot.KeyHolders.{name}", lambda *_: None)
    before = key.client_pin.hash
    done = rig.station(rig.insert(key), "q")
    assert (done.code, key.client_pin.hash) == (1, before)
    assert f"KEY-7 belongs to {people[0]} (arn:aws:iam::" in done.err
    assert "so nothing was written to it" in done.err


def test_a_key_without_a_serial_is_erased_only_if_a_person_says_so(
    rig: Rig, maker: AttestationCa, users: Callable[[], str], registered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may belong to somebody, and --yes does not say whether it does."""
    key, user, asked = lab_key(maker, pin=OLD), users(), list[str]()
    rig.plan(f"{user},fido2")

    def confirm(_: AtStation, action: str, **__: Any) -> None:
        asked.append(action)
        if len(asked) == 1:
            raise Declined("the answer was not ERASE, so nothing was done", "type ERASE")

    monkeypatch.setattr(AtStation, "confirm", confirm)
    done = rig.station(rig.insert(key, None), "q", more=("--yes",))
    assert (done.code, has(key, OLD), registered) == (1, True, []), done.err
    done = rig.station(rig.insert(key, None), more=("--yes",))
    assert done.code == 0, done.err
    assert (registered, rig.is_done(key)) == ([user], True)
    assert len(asked) == 2
    assert "cannot tell whether it belongs to a user" in asked[0]
    assert [path.name for path in rig.secrets] == [f"{user}~{user}~key.pin.age"]


def test_a_key_that_lacks_a_part_is_refused_and_the_next_one_is_used(
    rig: Rig, maker: AttestationCa, users: Callable[[], str], registered: list[str]
) -> None:
    """Nothing was written to the first key, and in the next session the user is not asked for it."""
    bad, good, user = lab_key(maker, pin=OLD, behavior=KeyBehavior(configurable=False)), lab_key(maker), users()
    rig.plan(f"{user},fido2")
    done = rig.station(rig.insert(bad), rig.insert(good, "KEY-8"))
    assert done.code == 0, done.err
    assert "the key lacks parts of profile desk: min-pin-length" in done.err
    assert (has(bad, OLD), registered, rig.is_done(good)) == (True, [user], True)
    assert "already done: 1 of 1 user" in rig.station().err


def test_the_pin_of_a_key_is_not_tried_on_the_next_one(
    rig: Rig,
    maker: AttestationCa,
    users: Callable[[], str],
    registered: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first key got its PIN from a profile, but was not registered. The row of the second one has no profile."""
    people, one, two = sorted([users(), users()]), lab_key(maker), lab_key(maker, pin=OLD)
    two.always_uv = True
    rig.plan(f"{people[0]},fido2,desk", f"{people[1]},fido2,", columns="user,kind,profile")
    real, fails = FidoKey.register, iter([True])

    def register(opened: FidoKey, **how: Any) -> Any:
        if next(fails, False):
            raise DeviceFault("the key was removed", "plug it in")
        return real(opened, **how)

    monkeypatch.setattr(FidoKey, "register", register)
    person = AtStation(rig.insert(one), "s", rig.insert(two, "KEY-8"), "q", codes=[OLD])
    with person.there():
        rig.desk.run("rollout", "station", rig.folder / "plan.json", "--timeout", "20", *rig.published.options)
    assert (registered, two.client_pin.retries) == ([people[1]], 8)


@pytest.mark.usefixtures("registered")
def test_the_roster_names_the_profile(rig: Rig, maker: AttestationCa, users: Callable[[], str]) -> None:
    """It wins over the option. A name that the configuration lacks is refused before a key is inserted."""
    people, key = sorted([users(), users()]), lab_key(maker)
    configure(rig.desk, '[profile.desk]\nreset = true\n[profile.typed]\npin = "typed"\n')
    rig.plan(f"{people[0]},fido2,typed", columns="user,kind,profile")
    done = rig.station(rig.insert(key), codes=["typed-pin"])
    assert done.code == 0, done.err
    assert has(key, "typed-pin")
    (rig.folder / "plan.json").unlink()
    rig.plan(f"{people[1]},fido2,none", columns="user,kind,profile")
    done = rig.station()
    assert (done.code, "there is no profile 'none' for keys" in done.err) == (2, True), done.err


@pytest.mark.usefixtures("registered")
def test_letters_have_the_pin_only_if_they_are_asked_for(
    rig: Rig, maker: AttestationCa, users: Callable[[], str]
) -> None:
    key, user = lab_key(maker), users()
    (rig.folder / "letters").mkdir()
    rig.plan(f"{user},fido2")
    done = rig.station(rig.insert(key), more=("--letters", rig.folder / "letters"))
    assert done.code == 0, done.err
    [letter] = (rig.folder / "letters").iterdir()
    assert letter.name == f"{user}~{user}~KEY-7.pdf"
    assert (rig.sealed() or "-")[:4] in text_of(letter)


def test_a_last_step_that_failed_is_done_with_the_same_key(
    rig: Rig,
    maker: AttestationCa,
    users: Callable[[], str],
    registered: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """IAM lists the device, but the row is asked again, in the next session too. Another key is refused."""
    key, other, user = lab_key(maker), lab_key(maker), users()
    rig.plan(f"{user},fido2")
    real = FidoKey.set_pin_policy

    def lost(opened: FidoKey, *args: Any, force_change: bool, **how: Any) -> None:
        if force_change:
            raise DeviceFault("the key was removed", "plug it in")
        real(opened, *args, force_change=force_change, **how)

    with monkeypatch.context() as patch:
        patch.setattr(FidoKey, "set_pin_policy", lost)
        done = rig.station(rig.insert(key), "q")
    assert "the last step of the key is missing: the key was removed" in done.err
    assert (registered, rig.is_done(key)) == ([user], False)
    pin = rig.sealed() or ""
    done = rig.station(rig.insert(other, "KEY-8"), rig.insert(key), codes=[pin])
    assert "this is not the key of" in done.err
    assert (done.code, rig.is_done(key), other.client_pin.hash, registered) == (0, True, None, [user]), done.err


def fido_of(lab: Lab, user: str) -> list[str]:
    """Return the security keys that IAM lists for a user."""
    iam = boto3.client("iam", endpoint_url=lab.env["AWS_ENDPOINT_URL"])
    return [device["SerialNumber"] for device in iam.list_mfa_devices(UserName=user)["MFADevices"]]


STEPS = ("reset", "seal", "set_pin", "set_pin_policy", "toggle_always_uv", "examine", "register", "console", "force")


def kill_at(step: str, moment: str) -> None:
    """Replace a step with one that ends this process, before or after it."""
    owners = {"seal": SealedPinFile, "examine": security_keys.SecurityKeys, "console": browser}
    owner: Any = owners.get(step, FidoKey)
    name = {"force": "set_pin_policy", "console": "open_console_page"}.get(step, step)
    real = getattr(owner, name)

    def end(*args: Any, **how: Any) -> Any:
        if name == "set_pin_policy" and how["force_change"] is not (step == "force"):
            return real(*args, **how)
        result = real(*args, **how) if moment == "after" else None
        os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, end)


CASES = [
    (step, moment, keep)
    for step in STEPS
    for moment in ("before", "after")
    for keep in (False, True)
    if not (keep and step == "reset")
]


@pytest.mark.parametrize(("step", "moment", "keep"), sample(CASES, 16))
@pytest.mark.usefixtures("in_console")
def test_a_killed_station_continues(
    rig: Rig,
    maker: AttestationCa,
    users: Callable[[], str],
    step: str,
    moment: str,
    keep: bool,
    record_property: Callable[[str, object], None],
) -> None:
    """SIGKILL comes before and after each step. The same command ends with one registered key that has everything.

    With `keep`, the profile does not reset keys, so the person types the PIN that they decrypt from the file.
    """
    key, user = lab_key(maker), users()
    if keep:
        rig.configure(WHOLE.replace("reset = true", "reset = false"))
    rig.plan(f"{user},fido2")
    rig.ports.plug(key, "KEY-7")
    rig.ports.unplug()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        kill_at(step, moment)
        rig.station(rig.insert(key))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert key.client_pin.hash is None or has(key, rig.sealed() or "")
    if key.client_pin.force_change and step != "force":
        raise AssertionError("the change was forced before the last step")
    pin = rig.sealed()
    typed = pin and (fido_of(rig.lab, user) or (keep and key.client_pin.hash))
    done = rig.station(rig.insert(key), codes=[pin] if typed and pin else [])
    assert done.code == 0, done.err
    assert rig.is_done(key)
    assert len(fido_of(rig.lab, user)) == 1
    record_property(COUNTED, ("kills of a station with a profile", 1))


@pytest.fixture
def in_reader() -> Callable[[YkoathCard], Act]:
    """Insert a card that is one key with two applets, after the previous one is removed."""
    pcsc.plug()
    return lambda card: (pcsc.plug, partial(pcsc.plug, card))


@pytest.mark.parametrize("kind", ["pair", "oath"])
def test_a_key_in_a_reader_gets_everything(
    rig: Rig,
    maker: AttestationCa,
    users: Callable[[], str],
    registered: list[str],
    in_reader: Callable[[YkoathCard], Act],
    kind: str,
) -> None:
    """Both halves are one key: its FIDO half is prepared before the OATH half gets a secret."""
    user, key = users(), lab_key(maker, pin=OLD)
    card = TwoApplets(FidoCard(key))
    rig.configure(f"{WHOLE}enroll = '{'both' if kind == 'pair' else 'oath'}'\n")
    rig.plan(f"{user},{kind},add", columns="user,kind,action")
    done = rig.station(in_reader(card), more=("-r", str(rig.identity.to_public())))
    assert done.code == 0, done.err
    assert done.err.count("insert the key for") == 1
    assert rig.is_done(key)
    assert registered == ([user] if kind == "pair" else [])
    assert len(card.credentials) == 1
    assert [path.name for path in rig.secrets] == [f"{user}~{user}-key~{card.serial}.pin.age"]


def test_a_pair_whose_key_was_pulled_between_the_halves_continues(
    rig: Rig,
    maker: AttestationCa,
    users: Callable[[], str],
    registered: list[str],
    in_reader: Callable[[YkoathCard], Act],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The key has a device of its user, so it is not erased again. The person types the PIN from the file."""
    user, key = users(), lab_key(maker)
    card = TwoApplets(FidoCard(key))
    rig.plan(f"{user},pair,add", columns="user,kind,action")
    more = ("-r", str(rig.identity.to_public()))
    with monkeypatch.context() as patch:
        patch.setattr("mfa_kit.cli.rollout.session.StationSession._make_second_half", lambda *_: False)
        done = rig.station(in_reader(card), "q", more=more)
    assert (done.code, len(card.credentials), registered, rig.is_done(key)) == (1, 1, [], False), done.err
    pin = rig.sealed() or ""
    done = rig.station(in_reader(card), codes=[pin], more=more)
    assert done.code == 0, done.err
    assert "already has a device of" in done.err
    assert (registered, rig.is_done(key), rig.sealed(), len(card.credentials)) == ([user], True, pin, 1)


def test_oath_credentials_are_not_lost_in_a_reset(
    rig: Rig,
    maker: AttestationCa,
    users: Callable[[], str],
    registered: list[str],
    in_reader: Callable[[YkoathCard], Act],
) -> None:
    """Some keys erase them too."""
    user, key = users(), lab_key(maker, pin=OLD)
    card = TwoApplets(FidoCard(key))
    card.credentials[b"Example:carol"] = Credential(0x21, 6, bytes(20), touch=False)
    rig.plan(f"{user},fido2")
    done = rig.station(in_reader(card), "q")
    assert (done.code, has(key, OLD), registered) == (1, True, [])
    assert "has OATH credentials: 1 credential of other services, which a reset erases on some keys" in done.err


def test_the_pin_of_a_posted_key_is_printed_after_the_arrival(
    rig: Rig, maker: AttestationCa, users: Callable[[], str], in_reader: Callable[[YkoathCard], Act], tmp_path: Path
) -> None:
    """It is encrypted to the profile's recipients, as the OATH password is. At the station, letters are refused."""
    user, key = users(), lab_key(maker)
    card = TwoApplets(FidoCard(key))
    rig.plan(f"{user},oath,add,post", columns="user,kind,action,delivery")
    (tmp_path / "letters").mkdir()
    more = ("--stage", "-r", str(pyrage.x25519.Identity.generate().to_public()))
    refused = rig.station(more=(*more, "--letters", tmp_path / "letters"))
    assert (refused.code, "are printed after the arrival" in refused.err) == (2, True)
    done = rig.station(in_reader(card), more=more)
    assert done.code == 0, done.err
    assert (has(key, pin := rig.sealed() or "-"), key.client_pin.force_change) == (True, True)
    plan, secrets, identity = tmp_path / "plan.json", tmp_path / "second", key_file(rig.identity, tmp_path)
    post = partial(rig.desk.run, "rollout", "post", plan)
    with mock.patch.object(terminal, "find_person", return_value=Person()):
        assert post("--secrets", secrets, "-i", identity).code == 1
        assert not secrets.exists()
        assert post("--arrived", user, "--how", "phone").code == 0
        assert post("--secrets", secrets, "-i", identity).code == 0
    assert sorted(path.name for path in secrets.iterdir()) == [f"{user}-{user}-key-pin.pdf", f"{user}-{user}-key.pdf"]
    assert pin[:4] in text_of(secrets / f"{user}-{user}-key-pin.pdf")


def test_a_key_that_was_pulled_is_prepared_again_in_the_same_session(
    rig: Rig,
    maker: AttestationCa,
    users: Callable[[], str],
    registered: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its PIN was set, but the answer was lost. The next insertion erases it again."""
    user, key, real = users(), lab_key(maker), FidoKey.set_pin
    rig.plan(f"{user},fido2")
    lost = iter([True])

    def set_pin(opened: FidoKey, new: Pin) -> None:
        real(opened, new)
        if next(lost, False):
            raise LostError("the key was removed", "plug it in and repeat the command")

    monkeypatch.setattr(FidoKey, "set_pin", set_pin)
    done = rig.station(rig.insert(key), rig.insert(key))
    assert done.code == 0, done.err
    assert "it is not known whether the key has the new PIN" in done.err
    assert (registered, rig.is_done(key)) == ([user], True)


def test_nothing_is_done_without_the_consent(
    rig: Rig, maker: AttestationCa, users: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question comes before the first prompt for a key. With --yes, it is not asked."""
    key = lab_key(maker, pin=OLD)
    rig.plan(f"{users()},fido2")

    def decline(*_: Any, **__: Any) -> None:
        raise Declined("the answer was not ERASE, so nothing was done", "type ERASE, or use --yes")

    monkeypatch.setattr(AtStation, "confirm", decline)
    done = rig.station()
    assert (done.code, has(key, OLD)) == (8, True), done.err
    done = rig.station(rig.insert(key), "q", more=("--yes", "--mds", rig.folder / "none"))
    assert "will be erased" not in done.err


def test_a_profile_for_other_keys_is_refused_for_a_row(
    rig: Rig, maker: AttestationCa, users: Callable[[], str]
) -> None:
    key = lab_key(maker, pin=OLD)
    rig.configure(f"{WHOLE}enroll = 'oath'")
    rig.plan(f"{users()},fido2")
    done = rig.station(rig.insert(key), "q")
    assert (done.code, has(key, OLD)) == (1, True)
    assert "profile desk is for oath and not for fido2" in done.err


def test_a_key_on_usb_gets_both_halves(
    rig: Rig,
    maker: AttestationCa,
    users: Callable[[], str],
    registered: list[str],
    in_reader: Callable[[YkoathCard], Act],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel says that the card and the security key are one device. Both report the same serial."""
    user, key, card = users(), lab_key(maker, pin=OLD), YkoathCard(serial=7)
    rig.configure(f"{WHOLE}enroll = 'both'\n")
    rig.plan(f"{user},pair,add", columns="user,kind,action")
    monkeypatch.setattr(security_keys.SecurityKeys, "find_same_device", lambda *_: next(iter(rig.ports.inside), None))
    monkeypatch.setattr(security_keys.SecurityKeys, "is_card", lambda *_: True)
    out, into = in_reader(card)

    def insert() -> None:
        rig.ports.plug(key, "7")
        into()

    done = rig.station((out, insert), more=("-r", str(rig.identity.to_public())))
    assert done.code == 0, done.err
    assert (registered, rig.is_done(key), len(card.credentials)) == ([user], True, 1)
    assert [path.name for path in rig.secrets] == [f"{user}~{user}-key~7.pin.age"]


def test_a_profile_without_fido_parts_needs_no_fido(
    rig: Rig, users: Callable[[], str], in_reader: Callable[[YkoathCard], Act]
) -> None:
    """Such a key has OATH only."""
    card = YkoathCard()
    configure(rig.desk, "[profile.desk]\nenroll = 'oath'\nattestation = false\n")
    rig.plan(f"{users()},oath")
    done = rig.station(in_reader(card), more=("-r", str(rig.identity.to_public())))
    assert (done.code, len(card.credentials)) == (0, 1), done.err


def test_a_key_without_fido_is_refused_if_the_profile_needs_it(
    rig: Rig, users: Callable[[], str], in_reader: Callable[[YkoathCard], Act]
) -> None:
    card = YkoathCard()
    rig.plan(f"{users()},oath")
    done = rig.station(in_reader(card), "q", more=("-r", str(rig.identity.to_public())))
    assert (done.code, len(card.credentials)) == (1, 0)
    assert "has no FIDO, which the profile needs" in done.err


BARE = f"{WHOLE}attestation = false\n"


def bare_pair(key: SimulatedKey, *, serial: int | None) -> TwoApplets:
    """Return a key in a reader, whose FIDO half reports no serial."""
    card = TwoApplets(FidoCard(key))
    card.serial = serial
    return card


def asked_at_station(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> list[str]:
    """Call `act` whenever a question is asked, and return the questions."""
    asked = list[str]()

    def confirm(_: AtStation, action: str, **__: Any) -> None:
        asked.append(action)
        act()

    monkeypatch.setattr(AtStation, "confirm", confirm)
    return asked


def decline() -> None:
    raise Declined("the answer was not ERASE, so nothing was done", "type ERASE")


@pytest.mark.parametrize("later", ["same session", "next session"])
def test_a_key_that_was_not_examined_is_recorded_too(
    rig: Rig, maker: AttestationCa, users: Callable[[], str], registered: list[str], later: str
) -> None:
    """A profile without attestation: the key of one user is not erased for the next one, also with --yes."""
    people, key = sorted([users(), users()]), lab_key(maker)
    rig.configure(BARE)
    rig.plan(*[f"{user},fido2" for user in people])
    if later == "next session":
        assert rig.station(rig.insert(key), "q", more=("--yes",)).code == 1
    acts = [rig.insert(key)] * (1 if later == "next session" else 2)
    done = rig.station(*acts, "q", more=("--yes",))
    assert (done.code, registered) == (1, people[:1]), done.err
    assert f"belongs to {people[0]}" in done.err
    assert has(key, rig.sealed() or "-")
    assert "KEY-7" in rig.desk.run("status", people[0]).out


def test_both_halves_of_a_pair_are_recorded_without_an_examination(
    rig: Rig,
    maker: AttestationCa,
    users: Callable[[], str],
    registered: list[str],
    in_reader: Callable[[YkoathCard], Act],
) -> None:
    """`key info` lists both devices. After the OATH half was revoked, the FIDO half still belongs to its user."""
    people, key = sorted([users(), users()]), lab_key(maker)
    card = bare_pair(key, serial=7)
    rig.configure(BARE)
    rig.plan(f"{people[0]},pair,add", columns="user,kind,action")
    more = ("-r", str(rig.identity.to_public()), "--yes")
    done = rig.station(in_reader(card), more=more)
    assert (done.code, registered) == (0, people[:1]), done.err
    recorded = json.loads(rig.desk.run("key", "info", "--key", "7", "--output", "json").out)["devices"]
    assert sorted(device["device"].split(":")[5].split("/")[0] for device in recorded) == ["mfa", "u2f"]
    rows = json.loads(rig.desk.run("status", people[0], "--output", "json").out)["rows"]
    assert [row["key_serial"] for row in rows] == ["7", "7"]
    revoked = rig.desk.run("revoke", people[0], "--mfa-device", f"{people[0]}-key", "--yes")
    assert revoked.code == 0, revoked.err
    assert not card.credentials
    before = key.client_pin.hash
    (rig.folder / "plan.json").unlink()
    rig.plan(f"{people[1]},fido2")
    done = rig.station(in_reader(card), "q", more=("--yes",))
    assert (done.code, registered, key.client_pin.hash) == (1, people[:1], before), done.err
    assert f"belongs to {people[0]}" in done.err


@pytest.mark.parametrize("serial", [7, None])
@pytest.mark.parametrize("reset_by", ["fido", "ykman"])
def test_a_key_is_recognized_after_its_oath_identity_changed(
    rig: Rig,
    maker: AttestationCa,
    users: Callable[[], str],
    registered: list[str],
    in_reader: Callable[[YkoathCard], Act],
    monkeypatch: pytest.MonkeyPatch,
    serial: int | None,
    reset_by: str,
) -> None:
    """The FIDO reset of some keys changes it, and so does `ykman oath reset`. A person is asked for other keys."""
    people, key = sorted([users(), users()]), lab_key(maker)
    card = bare_pair(key, serial=serial)

    def reset_oath() -> None:
        card.identity = os.urandom(8)
        card.credentials.clear()

    if reset_by == "fido":
        key.behavior = KeyBehavior(erases=reset_oath)
    rig.configure(BARE)
    rig.plan(*[f"{user},fido2" for user in people])
    done = rig.station(in_reader(card), "q", more=("--yes",))
    assert (done.code, registered, key.client_pin.force_change) == (1, people[:1], True), done.err
    assert not [path for path in rig.secrets if path.suffix == ".unfinished"]
    if reset_by == "ykman":
        reset_oath()
    before, asked = key.client_pin.hash, asked_at_station(monkeypatch, decline)
    done = rig.station(in_reader(card), "q", more=("--yes",))
    assert (done.code, registered, key.client_pin.hash) == (1, people[:1], before), done.err
    is_known = serial is not None or reset_by == "fido"
    assert (f"belongs to {people[0]}" in done.err, len(asked)) == (is_known, 0 if is_known else 1), done.err


def test_an_oath_identity_says_nothing_about_the_fido_half(
    rig: Rig,
    maker: AttestationCa,
    users: Callable[[], str],
    registered: list[str],
    in_reader: Callable[[YkoathCard], Act],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ledger does not have the key, so a person is asked, also with --yes. Nothing is erased without the answer."""
    key, user = lab_key(maker, pin=OLD), users()
    rig.plan(f"{user},fido2")
    asked = asked_at_station(monkeypatch, decline)
    done = rig.station(in_reader(bare_pair(key, serial=7)), "q", more=("--yes",))
    assert (done.code, has(key, OLD), registered) == (1, True, []), done.err
    assert "the FIDO half of this key reports no serial" in asked[0]


def test_an_answer_that_came_too_late_counts_for_the_next_insertion(
    rig: Rig,
    maker: AttestationCa,
    users: Callable[[], str],
    registered: list[str],
    in_reader: Callable[[YkoathCard], Act],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A key is erased only within seconds after it is plugged in. Another key is asked for by itself."""
    late = KeyBehavior(reset_within=-1)
    key, other, user = lab_key(maker, pin=OLD), lab_key(maker, pin=OLD, behavior=late), users()
    card, another = bare_pair(key, serial=None), bare_pair(other, serial=None)
    in_time, (remove, enter) = key.behavior, in_reader(card)

    def insert_again() -> None:
        key.behavior = in_time
        enter()

    def be_late() -> None:
        key.behavior = late

    rig.plan(f"{user},fido2")
    asked = asked_at_station(monkeypatch, be_late)
    done = rig.station((remove, enter), (remove, insert_again), more=("--yes",))
    assert (done.code, registered, len(asked)) == (0, [user], 1), done.err
    assert "remove it, and insert it again; it is not asked again" in done.err
    assert rig.is_done(key)
    asked.clear()
    (rig.folder / "plan.json").unlink()
    rig.plan(f"{users()},fido2")
    done = rig.station(in_reader(another), in_reader(bare_pair(other, serial=None)), "q", more=("--yes",))
    assert (done.code, len(asked), has(other, OLD)) == (1, 2, True), done.err


def test_a_key_that_is_exchanged_during_the_question_is_not_erased(
    rig: Rig,
    maker: AttestationCa,
    users: Callable[[], str],
    registered: list[str],
    in_reader: Callable[[YkoathCard], Act],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer was about the first key."""
    key, other = lab_key(maker, pin=OLD), lab_key(maker, pin=OLD)
    rig.plan(f"{users()},fido2")
    remove, enter = in_reader(bare_pair(other, serial=None))

    def exchange() -> None:
        remove()
        enter()

    asked = asked_at_station(monkeypatch, exchange)
    done = rig.station(in_reader(bare_pair(key, serial=None)), "q", more=("--yes",))
    assert (done.code, has(key, OLD), has(other, OLD), registered) == (1, True, True, []), done.err
    assert (len(asked), "another key was inserted meanwhile" in done.err) == (1, True), done.err


def test_a_key_that_this_station_has_reset_is_not_asked_for_again(
    rig: Rig,
    maker: AttestationCa,
    users: Callable[[], str],
    registered: list[str],
    in_reader: Callable[[YkoathCard], Act],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ledger says so, until anything else is recorded about the key."""
    key, user = lab_key(maker, pin=OLD), users()
    card, real, lost = bare_pair(key, serial=None), FidoKey.set_pin, iter([True])
    rig.plan(f"{user},fido2")

    def set_pin(opened: FidoKey, new: Pin) -> None:
        real(opened, new)
        if next(lost, False):
            raise LostError("the key was removed", "plug it in and repeat the command")

    monkeypatch.setattr(FidoKey, "set_pin", set_pin)
    asked = asked_at_station(monkeypatch, lambda: None)
    done = rig.station(in_reader(card), in_reader(card), more=("--yes",))
    assert (done.code, registered, len(asked)) == (0, [user], 1), done.err
