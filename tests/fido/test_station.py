"""Tests of a station with security keys: each is verified and registered for its user, and no key goes to two users."""

import csv
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.core.models import DeviceSpec
from mfa_kit.enrollment import fido_console
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.securitykey import KeyBehavior, SimulatedKey, lab_key
from mfa_kit.wiring import browser as kit
from tests.conftest import Result
from tests.fido.conftest import Bus, Desk, Published
from tests.rollout.person import Act, AtStation

pytestmark = pytest.mark.slow
Insert = Callable[..., Act]
Station = Callable[..., Result]


@pytest.fixture
def insert(bus: Bus) -> Insert:
    """Plug in one key after the previous one is unplugged."""

    def act(key: SimulatedKey, **how: str) -> Act:
        def out() -> None:
            for slot in bus.slots.values():
                slot.pull()
            bus.slots.clear()

        return out, partial(bus.plug, key, **how)

    return act


@pytest.fixture
def registered(at_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Register a key when the prompt says what to click, and record the user."""
    users: list[str] = []
    # At this moment the user has read what to click.
    real = kit.open_console_page
    monkeypatch.setattr(fido_console, "PACE", 0.05)

    def page(spec: DeviceSpec, **how: Any) -> object:
        users.append(spec.user)
        at_lab.register_fido(spec.user, spec.name)
        return real(spec, **how)

    monkeypatch.setattr(kit, "open_console_page", page)
    return users


@pytest.fixture
def people(users: Callable[[], str]) -> list[str]:
    return [users(), users()]


@pytest.fixture
def station(desk: Desk, published: Published, people: list[str], tmp_path: Path) -> Station:
    """Work through a plan of these people. `acts` are the person's actions at the prompts."""
    roster = tmp_path / "roster.csv"
    roster.write_text("\n".join(["user,kind", *(f"{user},fido2" for user in people)]) + "\n")

    def work(*acts: str | Act, more: tuple[str | Path, ...] = ()) -> Result:
        plan = tmp_path / "plan.json"
        if not plan.exists():
            assert desk.run("rollout", "plan", roster, "-o", plan).code == 0
        person = AtStation(*acts)
        with person.there():
            done = desk.run("rollout", "station", plan, "--timeout", "20", *published.options, *more)
        return Result(done.code, done.out, "\n".join([done.err, *person.asked, *person.told]))

    return work


def outcomes(folder: Path) -> list[str]:
    with (folder / "plan-results" / "results.csv").open() as file:
        return [row["outcome"] for row in csv.DictReader(file)]


def test_each_user_gets_a_genuine_key_of_their_own(
    station: Station,
    insert: Insert,
    maker: AttestationCa,
    people: list[str],
    registered: list[str],
    desk: Desk,
    tmp_path: Path,
) -> None:
    """Keys without a serial are recognized by their registration. `status` and `apply` know the results."""
    one, two = lab_key(maker), lab_key(maker)
    done = station(insert(one), insert(one), insert(two))
    assert done.code == 0, done.err
    assert registered == people
    assert "this key was already given to another user" in done.err
    assert done.err.count("do not remove it yet") == 3
    plan = tmp_path / "plan.json"
    found = json.loads(desk.run("rollout", "status", plan, "--output", "json").out)["rows"]
    assert [(row["outcome"], row["reason"][:6]) for row in found] == [("enrolled", "by run")] * 2
    assert "already done: 2 of 2 users" in station().err
    assert outcomes(tmp_path) == ["enrolled"] * 2


def test_a_key_that_is_refused_is_followed_by_another(
    station: Station, insert: Insert, maker: AttestationCa, people: list[str], registered: list[str]
) -> None:
    """The row stays pending, and the console is not mentioned before a key passes."""
    bad, good = lab_key(maker, behavior=KeyBehavior(attestation="self")), lab_key(maker)
    done = station(insert(bad), insert(good), more=("--only", people[0]))
    assert done.code == 0, done.err
    assert "the key was rejected: genuine:" in done.err
    assert "remove the key, then insert it again or insert another key" in done.err
    assert registered == people[:1]


def test_a_key_with_a_serial_is_recognized_later(
    station: Station, insert: Insert, maker: AttestationCa, people: list[str], registered: list[str]
) -> None:
    """The serial is in the ledger."""
    done = station(insert(lab_key(maker), serial="KEY-7"), "q")
    assert done.code == 1
    done = station(insert(lab_key(maker), serial="KEY-7"), insert(lab_key(maker), serial="KEY-8"))
    assert done.code == 0, done.err
    assert f"KEY-7 is already in use: it belongs to {people[0]} (run " in done.err
    assert registered == people


def test_keys_at_another_place_are_registered_without_a_check(
    station: Station, people: list[str], registered: list[str], tmp_path: Path
) -> None:
    """With the check skipped, no key is plugged in.

    If IAM does not report a certification, the row shows that as the reason.
    """
    policy = tmp_path / "policy.toml"
    policy.write_text("fips = 2\n")
    done = station("", "", more=("--skip-key-check", "--require", policy, "--output", "json"))
    assert done.code == 1, done.err
    assert registered == people
    rows = json.loads(done.out)["rows"]
    assert [row["outcome"] for row in rows] == ["enrolled"] * 2
    assert all("FIPS" in row["reason"] for row in rows)


def test_a_wait_for_the_console_can_be_given_up(
    station: Station,
    insert: Insert,
    maker: AttestationCa,
    people: list[str],
    registered: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The row is offered again and can be skipped. The key is unassigned and can be given to the next user."""
    key, real = lab_key(maker), kit.open_console_page  # as above

    def page(spec: DeviceSpec, **how: Any) -> object:
        if spec.user == people[0]:
            raise KeyboardInterrupt
        return real(spec, **how)

    monkeypatch.setattr(kit, "open_console_page", page)
    done = station(insert(key), "s", insert(key), "")
    assert done.code == 1
    assert f"{people[0]}: interrupted" in done.err
    assert registered == people[1:]
    assert outcomes(tmp_path) == ["not started", "enrolled"]
