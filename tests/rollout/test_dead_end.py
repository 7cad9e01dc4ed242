"""A device that was created and not enabled, and whose record and ledger row are lost: each printed advice works."""

import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from mfa_kit import wiring
from mfa_kit.core.models import RUN_TAG, USER_TAG, run_time
from mfa_kit.core.text import iso_time
from mfa_kit.rollout import undo
from mfa_kit.rollout.proven_devices import ProvenDevices
from tests.conftest import Result
from tests.rollout.conftest import Rollout
from tests.rollout.test_lost_ledger import ARN, command
from tests.tokens.person import Person

People = Callable[[int], list[str]]


def run_id(ago: timedelta) -> str:
    return f"{datetime.now(UTC) - ago:%Y%m%dT%H%M%SZ}-0123abcd"


def create(rollout: Rollout, user: str, run: str, **tags: str) -> None:
    """Create the device that a run created just before its ledger and its record were lost."""
    iam: Any = boto3.Session().client("iam", endpoint_url=rollout.lab.env["AWS_ENDPOINT_URL"])
    named = {RUN_TAG: run, USER_TAG: user, **tags}
    iam.create_virtual_mfa_device(
        VirtualMFADeviceName=user, Tags=[{"Key": key, "Value": value} for key, value in named.items()]
    )


def follow(rollout: Rollout, said: str, command_name: str, *more: str | Path) -> Result:
    """Run the only command of this name that a message suggests, with the name of the plan in it."""
    [suggested] = {*re.findall(rf"mfa-kit ({command_name}[^;`\n]*)", said)}
    words = [str(rollout.file) if word == "PLAN" else word for word in shlex.split(suggested)]
    return rollout.desk.run(*words, *more)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Person:
    person = Person()
    monkeypatch.setattr("mfa_kit.cli.terminal.find_person", lambda *_, **__: person)
    return person


def test_a_young_device_is_removed_on_demand(rollout: Rollout, people: People, typed: Person) -> None:
    """Its run could still be at work on another computer, so the first answer says how to say that it is not."""
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    create(rollout, user, run_id(timedelta(hours=1)))
    failed = rollout.apply()
    assert failed.code == 1
    left = follow(rollout, failed.err, "rollout undo")
    assert (left.code, "1 half-made device left" in left.err, ARN + user in {*rollout.lab.serials()}) == (1, True, True)
    removed = follow(rollout, left.err, "rollout undo")
    assert removed.code == 0, removed.err
    [question] = typed.told
    assert "only if no other computer works on this plan" in question
    assert rollout.apply().code == 0
    rollout.works([user])


@pytest.mark.usefixtures("typed")
def test_an_old_device_is_removed_at_once(rollout: Rollout, people: People) -> None:
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    create(rollout, user, run_id(timedelta(hours=25)))
    failed = rollout.apply()
    removed = follow(rollout, failed.err, "rollout undo")
    assert (failed.code, removed.code) == (1, 0), removed.err
    assert rollout.apply().code == 0
    rollout.works([user])


@pytest.mark.usefixtures("typed")
def test_orphans_clean_says_what_it_left_and_until_when(rollout: Rollout, people: People) -> None:
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    run = run_id(timedelta(hours=1))
    create(rollout, user, run)
    left = rollout.desk.run("orphans", "clean")
    until = iso_time(run_time(run) + 24 * 3600)
    assert f"{ARN}{user} is left until {until}" in left.err, left.err
    cleaned = follow(rollout, left.err, "orphans clean")
    assert cleaned.code == 0, cleaned.err
    assert rollout.apply().code == 0
    rollout.works([user])


@pytest.mark.usefixtures("typed")
def test_a_device_of_another_user_or_without_a_tag_stays(rollout: Rollout, people: People) -> None:
    """Its name alone does not show that a run of mfa-kit made it for the user of the plan."""
    first, second = people(2)
    rollout.plan(*rollout.own([first, second]))
    create(rollout, first, run_id(timedelta(hours=25)), **{USER_TAG: "somebody"})
    create(rollout, second, "no run")
    done = command(rollout, "undo", rollout.file, "--adopt-unrecorded", "--older-than", "0s")
    assert done.code == 1, done.err
    assert {ARN + first, ARN + second} <= {*rollout.lab.serials()}


def test_a_device_that_gets_its_user_meanwhile_stays(
    rollout: Rollout, people: People, typed: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another computer was at work all the same: it enables the device while the question is open."""
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    create(rollout, user, run_id(timedelta(hours=25)))

    def enable(*_: object, **__: object) -> None:
        with rollout.lab.account.lock:
            backend = rollout.lab.account.backend
            backend.enable_mfa_device(user, ARN + user, "123456", "234567")

    monkeypatch.setattr(typed, "confirm", enable)
    more = ("--adopt-unrecorded", "--leave-without-mfa")
    done = command(rollout, "undo", rollout.file, *more)
    assert (done.code, rollout.lab.assigned(ARN + user)) == (6, user), done.err
    assert "was enabled" in done.err


@pytest.mark.parametrize(
    ("shared", "lives", "hours", "goes"),
    [
        (True, False, 1, True),  # the computers share a ledger, and it has no such run at work
        (True, True, 1, False),
        (True, True, 48, False),
        (False, False, 1, False),
        (False, False, 48, True),
        (False, True, 48, False),
    ],
)
def test_when_a_half_made_device_may_be_removed(
    rollout: Rollout, people: People, *, shared: bool, lives: bool, hours: int, goes: bool
) -> None:
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    run = run_id(timedelta(hours=hours))
    ports: Any = SimpleNamespace(
        journal=SimpleNamespace(lives=lambda _: lives),
        iam_reader=SimpleNamespace(
            tags=lambda _: {RUN_TAG: run, USER_TAG: user}, now=lambda: datetime.now(UTC).timestamp()
        ),
        store=SimpleNamespace(find=lambda _: None),
    )
    proven = ProvenDevices(entries={}, adopted={}, refused={}, unassigned={ARN + user})
    plan, _ = wiring.rollout.read_plan(rollout.file, expected=[])
    found = undo.find_unrecorded(plan, proven, ports=ports, workers=1, older_than=24 * 3600, shared=shared)
    assert (len(found.entries), len(found.young)) == (int(goes), int(not goes))
