"""Keys for everyone who has a phone: pairs at the station and keys by post, while a watcher looks after every user.

Of 40 users, 15 get a pair in person, 15 get a key by post, and 10 keep their phone. The check has fewer of each.
"""

import base64
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pyotp
import pyrage
import pytest

from mfa_kit.adapters.aws import event_history
from mfa_kit.cli import terminal
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.aws.wire import LoggedCall
from mfa_kit.lab.devices.apdu import Pulled
from mfa_kit.lab.devices.oathcard import CALCULATE, Credential, Quirks, YkoathCard
from mfa_kit.lab.devices.securitykey import KeyBehavior
from tests import pcsc
from tests.conftest import ACCOUNT, Result
from tests.fido.conftest import Bus, Desk, Published, bus, desk, maker, published
from tests.fido.test_pairs import Key, box, insert
from tests.fido.test_station import registered
from tests.lab.client import Aws
from tests.rollout.conftest import key_file
from tests.rollout.person import Act, AtStation
from tests.sizes import sample, size

__all__ = ["box", "bus", "desk", "insert", "maker", "published", "registered"]
pytestmark = pytest.mark.slow
PAIRS, POSTED, KEEPING = size(3, 15), size(4, 15), size(1, 10)
OLD = "2025-01-01T00:00:00+00:00"
CHANGES = {"CreateVirtualMFADevice", "EnableMFADevice", "DeactivateMFADevice", "DeleteVirtualMFADevice"}
NAMES = [f"user{number:02}" for number in range(PAIRS + POSTED + KEEPING)]
IN_PERSON, BY_POST, PHONES = NAMES[:PAIRS], NAMES[PAIRS : PAIRS + POSTED], NAMES[PAIRS + POSTED :]
# Of the users in person, this one does not sign in with the new key. Of the keys by post, the first two are lost, and
# the second is prepared again. The user of the third never answers.
ABSENT = IN_PERSON[-1]
LOST, AGAIN, SILENT = BY_POST[:3]


@pytest.fixture(scope="session", autouse=True)
def _readers_end() -> Iterator[None]:
    with pcsc.stopped():
        yield


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run a lab whose users all have phones, and that allows any number of lookups."""
    admin = {"name": "lab-admin", "attached": ["arn:aws:iam::aws:policy/AdministratorAccess"]}
    people = [{"name": name, "password": True, "devices": [{"name": name, "enabled": OLD}]} for name in NAMES]
    description = {"version": 1, "regions": ["us-east-1"], "users": [admin, *people]}
    with Lab(description=description, settings=LabSettings(propagation=0, lookup_rate=1e6)) as running:
        yield running


def serial_of(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:mfa/{name}"


class Watcher(list[LoggedCall]):
    """The log of a lab. After each call that changes devices, looks for users without a working device.

    It also looks for keys of the `box` with the credentials of two users. A device works if the user can use it: a
    security key, the phone with the secret of the device in IAM, or an OATH key with this secret, but only while the
    user has that key.
    """

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab.calls)
        self.lab, self.changes, self.unsafe = lab, 0, list[str]()
        self.phones: dict[str, bytes] = {}
        self.keys: defaultdict[str, list[YkoathCard]] = defaultdict(list)
        self.box: list[YkoathCard] = []

    def watch(self, users: Iterable[str]) -> None:
        """Look after users, whose phones have the devices with their names."""
        self.phones |= {user: self.lab.seed(serial_of(user)) for user in users}

    def append(self, call: LoggedCall) -> None:
        super().append(call)
        if call.operation in CHANGES and not call.error:
            self.changes += 1
            self.unsafe += [f"{call.operation}: {user}" for user in self.phones if not self.has_working_device(user)]
            self.unsafe += [f"{call.operation}: {card.serial}" for card in self.box if len(card.credentials) > 1]

    def has_working_device(self, user: str) -> bool:
        usable = {credential.key for card in self.keys[user] for credential in card.credentials.values()}
        usable.add(self.phones[user])
        listed = self.lab.account.devices_of(self.lab.account.backend.get_user(user))
        return any(":u2f/" in serial or self.lab.seed(serial) in usable for serial in listed)


@dataclass
class Exchange:
    """The admin at the desk, and what is in IAM according to boto3."""

    desk: Desk
    lab: Lab
    watcher: Watcher
    plan: Path
    options: list[str]

    def run(self, *words: str | Path, code: int = 0) -> Result:
        done = self.desk.run("rollout", *words)
        assert done.code == code, (done.out, done.err)
        return done

    def try_station(self, person: AtStation, *more: str) -> Result:
        with mock.patch.object(terminal, "find_person", return_value=person):
            return self.desk.run("rollout", "station", self.plan, "--no-touch", "--timeout", "20", *self.options, *more)

    def station(self, *acts: str | Act, more: tuple[str, ...] = ()) -> str:
        """Work through the queue with all acts, and return what was printed."""
        person = AtStation(*acts)
        with person.there():
            done = self.try_station(person, *more)
        assert done.code == 0, (done.out, done.err)
        return "\n".join([done.err, *person.asked, *person.told])

    def has(self, user: str) -> set[str]:
        """Return the names of a user's devices."""
        listed = boto3.session.Session().client("iam").list_mfa_devices(UserName=user)["MFADevices"]
        serials = [device["SerialNumber"] for device in listed]
        names = [serial.rpartition("/")[2] for serial in serials]
        return {
            name.rpartition("-")[0] if ":u2f/" in serial else name for serial, name in zip(serials, names, strict=True)
        }

    @property
    def unassigned(self) -> set[str]:
        """The serials of the virtual devices that nobody has."""
        return {serial for serial in self.lab.serials() if self.lab.assigned(serial) is None}

    def sign_in(self, user: str) -> None:
        """Sign a user in to the console with the security key, which was registered a minute ago."""
        with self.lab.account.lock:
            devices = self.lab.account.backend.get_user(user).mfa_devices
            [serial] = [serial for serial in devices if ":u2f/" in serial]
            devices[serial].enable_date = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=1)
        self.lab.sign_in(user, serial=serial, region="us-east-1")


@pytest.fixture
def exchange(
    at_lab: Lab, desk: Desk, published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Exchange:
    monkeypatch.setattr(event_history, "SECONDS", 0.0)
    watcher = Watcher(at_lab)
    monkeypatch.setattr(at_lab.application, "calls", watcher)
    return Exchange(desk, at_lab, watcher, tmp_path / "keys.json", published.options)


def codes(card: YkoathCard) -> str:
    """Return two consecutive codes of the only credential of a key, with a comma."""
    [credential] = card.credentials.values()
    totp = pyotp.TOTP(base64.b32encode(credential.key).decode())
    return f"{totp.at(int(time.time()) - 30)},{totp.at(int(time.time()))}"


def mended(key: Key, act: Act) -> Act:
    """Insert a key that is not pulled any more."""
    remove, enter = act

    def enter_whole() -> None:
        assert key.card is not None
        key.card.quirks = Quirks()
        enter()

    return remove, enter_whole


def test_everyone_gets_a_key_and_keeps_a_working_device(
    exchange: Exchange,
    box: Callable[..., Key],
    insert: Callable[[Key], Act],
    registered: list[str],
    identity: pyrage.x25519.Identity,
    tmp_path: Path,
) -> None:
    """Keys are broken, somebody else's, pulled, lost and never confirmed. IAM has what the plan says in the end."""
    exchange.watcher.watch(NAMES)
    rows = [
        *(f"{user},pair,replace,desk" for user in IN_PERSON),
        *(f"{user},oath,replace,post" for user in BY_POST),
        *(f"{user},virtual,," for user in PHONES),
    ]
    roster = tmp_path / "keys.csv"
    roster.write_text("\n".join(["user,kind,action,delivery", *rows]) + "\n")
    summary = json.loads(exchange.run("plan", roster, "-o", exchange.plan, "--output", "json").out)
    planned: dict[str, dict[str, Any]] = {row["user"]: row for row in summary["users"]}
    assert (summary["bench"], summary["skip"], summary["blocked"]) == (2 * PAIRS + POSTED, KEEPING, 0)
    recipient = ("-r", str(identity.to_public()))

    # In person: the first three keys of the box are broken, somebody else's, and pulled while it is written to.
    keys = {user: box(serial=1000 + number) for number, user in enumerate(IN_PERSON)}
    exchange.watcher.keys.update({user: [key.card] for user, key in keys.items() if key.card})
    broken, others, pulled = box(serial=1), box(serial=2), keys[IN_PERSON[0]]
    exchange.watcher.box += [key.card for key in (broken, others, *keys.values()) if key.card]
    broken.fido.behavior = KeyBehavior(attestation="self")
    assert others.card
    assert pulled.card
    others.card.credentials[f"AWS:{PHONES[0]}@{ACCOUNT}".encode()] = Credential(
        kind=0x21, digits=6, key=b"x" * 20, touch=False
    )
    pulled.card.quirks.pulled_by = CALCULATE
    said = exchange.station(
        insert(broken),
        insert(others),
        insert(pulled),
        mended(pulled, insert(pulled)),
        *(insert(keys[user]) for user in IN_PERSON[1:]),
        more=recipient,
    )
    assert "the key was rejected: genuine:" in said
    assert f"2 is already in use: it contains AWS:{PHONES[0]}@" in said
    assert registered == IN_PERSON
    assert not (broken.card and broken.card.credentials)

    # By post.
    parcels = {user: YkoathCard(serial=2000 + number) for number, user in enumerate(BY_POST)}
    exchange.station(
        *((pcsc.plug, lambda card=card: pcsc.plug(card)) for card in parcels.values()), more=("--stage", *recipient)
    )
    assert {user: exchange.has(user) for user in BY_POST} == {user: {user} for user in BY_POST}
    exchange.run("post", exchange.plan, "--letters", tmp_path / "letters")
    for user in (LOST, AGAIN):
        exchange.run("post", exchange.plan, "--lost", user)
    parcels[AGAIN] = YkoathCard(serial=3000)
    exchange.watcher.box += parcels.values()
    exchange.station((pcsc.plug, lambda: pcsc.plug(parcels[AGAIN])), more=("--stage", "--only", AGAIN, *recipient))
    answering = [user for user in BY_POST if user not in {LOST, SILENT}]
    for user in answering:
        exchange.watcher.keys[user].append(parcels[user])
        exchange.run("post", exchange.plan, "--arrived", user, "--how", "phone call")
    proofs, now = tmp_path / "proofs.csv", datetime.now(UTC).isoformat()
    proofs.write_text("\n".join(f"{user},{codes(parcels[user])},{now}" for user in answering) + "\n")
    exchange.run("activate", "--proofs", proofs, "-i", key_file(identity, tmp_path))

    # The end.
    for user in IN_PERSON:
        if user != ABSENT:
            exchange.sign_in(user)
    finished = exchange.run("finish", exchange.plan, "--output", "json", code=1)
    outcomes = {row["user"]: row["outcome"] for row in json.loads(finished.out)["rows"]}
    done = [user for user in (*IN_PERSON, *answering) if user != ABSENT]
    assert {user for user, outcome in outcomes.items() if outcome == "revoked"} == {*done}
    expected = {
        **{user: {user} for user in (*PHONES, LOST, SILENT)},
        ABSENT: {*planned[ABSENT]["before"], *planned[ABSENT]["after"]},
        **{user: {*planned[user]["after"]} for user in done},
    }
    assert {user: exchange.has(user) for user in NAMES} == expected
    assert exchange.unassigned == {serial_of(f"{SILENT}-key")}
    assert exchange.watcher.unsafe == []
    assert exchange.watcher.changes > 3 * (PAIRS + POSTED)

    # The watcher would have noticed.
    boto3.session.Session().client("iam").deactivate_mfa_device(UserName=LOST, SerialNumber=serial_of(LOST))
    assert exchange.watcher.unsafe == [f"DeactivateMFADevice: {LOST}"]


# When a key is pulled: before or after one of the 36 APDUs of a pair. The first six identify the key, and a key that is
# pulled then is not seen at all.
PULLS = [(f"pulled_{when}", number) for number in range(7, 37) for when in ("before", "after")]


@pytest.mark.parametrize(("when", "number"), sample(PULLS, 4))
def test_a_key_that_is_pulled_gets_both_halves_in_the_next_run(
    exchange: Exchange,
    box: Callable[..., Key],
    bus: Bus,
    insert: Callable[[Key], Act],
    registered: list[str],
    tmp_path: Path,
    when: str,
    number: int,
) -> None:
    """The next run settles what was half-made, and the phone works all the time."""
    user, key = f"pulled-{when[7:]}-{number}", box(serial=4000 + number)
    exchange.lab.add_user(user)
    admin = exchange.lab.admin
    Aws(exchange.lab, (admin.access_key_id, admin.secret_access_key, None)).enrolled(user)
    assert key.card
    exchange.watcher.watch([user])
    exchange.watcher.keys[user].append(key.card)
    exchange.watcher.box.append(key.card)
    roster = tmp_path / "keys.csv"
    roster.write_text(f"user,kind,action\n{user},pair,add\n")
    exchange.run("plan", roster, "-o", exchange.plan)

    setattr(key.card.quirks, when, number)
    remove, enter = insert(key)
    answer = key.card.answer

    def answer_or_leave(octets: bytes) -> bytes:
        try:
            return answer(octets)
        except Pulled:
            bus.unplug()
            raise

    def enter_and_count() -> None:
        assert key.card is not None
        key.card.log.clear()
        enter()

    with mock.patch.object(key.card, "answer", answer_or_leave):
        done = exchange.try_station(AtStation((remove, enter_and_count), "q", "q"))
    if done.code:
        exchange.station(mended(key, insert(key)))
    assert registered == [user]
    assert exchange.has(user) == {user, f"{user}-key", f"{user}-key-2"}
    assert exchange.unassigned == set()
    assert exchange.watcher.unsafe == []
