"""Pairs at the station: a key that is inserted once gets an OATH and a FIDO credential, and is recorded as one key."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from mfa_kit.adapters.ledger.seen_keys import SeenKeyRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.lab.devices.securitykey import KeyBehavior, SimulatedKey, lab_key
from mfa_kit.wiring.security_keys import SecurityKeys
from tests import pcsc
from tests.conftest import ACCOUNT, Result
from tests.fido.conftest import Bus, Desk, Published
from tests.fido.test_station import registered
from tests.rollout.person import Act, AtStation

__all__ = ["registered"]
pytestmark = pytest.mark.slow
Station = Callable[..., Result]


@dataclass
class Key:
    """One physical key: what is on USB, and the card in its reader, if it has one."""

    fido: SimulatedKey
    card: YkoathCard | None


@pytest.fixture
def box(bus: Bus, maker: AttestationCa, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Key]:
    """Make a key. The kernel says that the inserted card and the inserted security key are one device."""
    pcsc.plug()
    monkeypatch.setattr(SecurityKeys, "find_same_device", lambda *_: next(iter(bus.slots), None))
    return lambda **how: Key(lab_key(maker), YkoathCard(**how) if how else None)


@pytest.fixture
def insert(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> Callable[[Key], Act]:
    """Insert one key after the others are removed."""

    def enter(key: Key) -> None:
        monkeypatch.setattr(SecurityKeys, "is_card", lambda *_: key.card is not None)
        bus.plug(key.fido)
        pcsc.plug(key.card)

    def remove() -> None:
        bus.unplug()
        pcsc.plug()

    return lambda key: (remove, partial(enter, key))


@pytest.fixture
def station(desk: Desk, published: Published, tmp_path: Path) -> Station:
    """Plan a roster with the columns user, kind and action once, and work through it."""
    plan = tmp_path / "plan.json"

    def work(rows: list[str], *acts: str | Act, more: tuple[str | Path, ...] = ()) -> Result:
        if not plan.exists():
            (tmp_path / "roster.csv").write_text("\n".join(["user,kind,action", *rows]) + "\n")
            assert desk.run("rollout", "plan", tmp_path / "roster.csv", "-o", plan).code == 0
        person = AtStation(*acts)
        with person.there():
            done = desk.run("rollout", "station", plan, "--no-touch", "--timeout", "20", *published.options, *more)
        return Result(done.code, done.out, "\n".join([done.err, *person.asked, *person.told]))

    return work


@dataclass
class Pairs:
    """A station, with keys, users who have none, and those who registered one."""

    station: Station
    box: Callable[..., Key]
    insert: Callable[[Key], Act]
    users: Callable[[], str]
    registered: list[str]


@pytest.fixture
def pairs(
    station: Station,
    box: Callable[..., Key],
    insert: Callable[[Key], Act],
    users: Callable[[], str],
    registered: list[str],
) -> Pairs:
    """Return all that a test of pairs needs."""
    return Pairs(station, box, insert, users, registered)


def test_a_key_inserted_once_gets_both_credentials(pairs: Pairs, desk: Desk) -> None:
    """The person is asked for each key once, and the ledger has one key with two devices for each user."""
    people, keys = [pairs.users(), pairs.users()], [pairs.box(serial=1), pairs.box(serial=2)]
    done = pairs.station([f"{user},pair,add" for user in people], *map(pairs.insert, keys))
    assert done.code == 0, done.err
    assert pairs.registered == people
    assert done.err.count("insert the key for") == 2
    assert done.err.count("you can remove the key now") == 2
    for user, key in zip(people, keys, strict=True):
        assert key.card is not None
        assert [*key.card.credentials] == [f"AWS:{user}-key@{ACCOUNT}".encode()]
    with sqlite_ledger(desk.home) as ledger:
        seen = {known.facts.serial: known.devices for known in SeenKeyRecords(ledger).all()}
    assert {serial: {device.user for device in found} for serial, found in seen.items()} == {
        "1": {people[0]},
        "2": {people[1]},
    }
    assert [len(found) for found in seen.values()] == [2, 2]


def test_a_key_without_oath_is_refused_with_a_sentence(pairs: Pairs) -> None:
    """Such a key is seen as a security key only. Nothing is written to it."""
    user = pairs.users()
    done = pairs.station([f"{user},pair,add"], pairs.insert(pairs.box()), pairs.insert(pairs.box(serial=1)))
    assert done.code == 0, done.err
    assert f"has no OATH, which a pair needs; insert another key for {user}" in done.err
    assert pairs.registered == [user]


def test_a_key_whose_fido_half_is_refused_gets_no_half(pairs: Pairs) -> None:
    """The security key is examined before anything is written, so that another key gets both halves."""
    user, bad, good = pairs.users(), pairs.box(serial=1), pairs.box(serial=2)
    bad.fido.behavior = KeyBehavior(attestation="self")
    done = pairs.station([f"{user},pair,add"], pairs.insert(bad), pairs.insert(good))
    assert done.code == 0, done.err
    assert f"{user}: the key was rejected: genuine:" in done.err
    assert bad.card is not None
    assert not bad.card.credentials
    assert pairs.registered == [user]
    assert good.fido.registered == 1


def test_a_key_that_is_no_security_key_gets_no_half(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    user, key = pairs.users(), pairs.box(serial=1)
    monkeypatch.setattr(SecurityKeys, "find_same_device", lambda *_: None)
    done = pairs.station([f"{user},pair,add"], pairs.insert(key), "q")
    assert (done.code, pairs.registered) == (1, [])
    assert "the key is not found among the security keys, and a pair needs both" in done.err
    assert key.card is not None
    assert not key.card.credentials


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "at-another-computer"])
def test_the_second_half_is_made_on_the_key_of_the_first(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, elsewhere: bool
) -> None:
    """A session that ended between the halves continues with the second half, and refuses other keys.

    Another computer knows the key from the tags of the first half.
    """
    user, mine, other = pairs.users(), pairs.box(serial=1), pairs.box(serial=2)
    real, looks = SecurityKeys.find_same_device, iter([True, True, False])
    with monkeypatch.context() as patch:
        patch.setattr(SecurityKeys, "find_same_device", lambda *where: real(*where) if next(looks) else None)
        done = pairs.station([f"{user},pair,add"], pairs.insert(mine), "q")
    assert (done.code, pairs.registered) == (1, [])
    assert "the key is no longer inserted" in done.err
    if elsewhere:
        monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / "other"))
        shutil.rmtree(tmp_path / "plan-results")
    done = pairs.station([], pairs.insert(other), pairs.insert(pairs.box()), pairs.insert(mine))
    assert done.code == 0, done.err
    assert done.err.count(f"is not the key with the first half of the pair of {user}") == 2
    assert pairs.registered == [user]
    assert other.card is not None
    assert not other.card.credentials


def test_skipping_a_pair_skips_both_halves(pairs: Pairs) -> None:
    first, second = pairs.users(), pairs.users()
    done = pairs.station([f"{user},pair,add" for user in (first, second)], "s", pairs.insert(pairs.box(serial=1)), "")
    assert (done.code, pairs.registered) == (1, [second])
    assert f"2 users not done ({first}-key" in done.err.replace(f"{first}/", "")
    assert {*re.findall(r"\((\d of \d);", done.err)} == {"1 of 2", "2 of 2"}  # a pair is one key


def test_two_stations_with_one_roster_give_a_user_one_key(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second one to get a key for the user writes nothing to it, and gives it to the next user."""
    people, keys = [pairs.users(), pairs.users()], [pairs.box(serial=1), pairs.box(serial=2)]
    remove, enter = pairs.insert(keys[1])

    def other_station() -> None:
        remove()
        with monkeypatch.context() as patch:
            patch.setenv("MFA_KIT_HOME", str(tmp_path / "other"))
            only = ("--only", people[0], "--results", tmp_path / "other-results")
            done = pairs.station([], pairs.insert(keys[0]), more=only)
        assert done.code == 0, done.err
        remove()

    done = pairs.station([f"{user},pair,add" for user in people], (other_station, enter), pairs.insert(keys[1]))
    assert done.code == 0, done.err
    assert pairs.registered == people
    for user, key in zip(people, keys, strict=True):
        assert key.card is not None
        assert [*key.card.credentials] == [f"AWS:{user}-key@{ACCOUNT}".encode()]
