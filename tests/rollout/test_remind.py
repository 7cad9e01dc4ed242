"""Reminders: who has a staged device without proof, and who has not enrolled themselves, and since when."""

import csv
import json
from collections.abc import Callable

from mfa_kit.core.models import run_time
from mfa_kit.core.text import iso_time
from tests.rollout.conftest import Rollout

People = Callable[[int], list[str]]


def test_users_for_whom_the_rollout_waits_are_listed(rollout: Rollout, people: People) -> None:
    """As JSON, as CSV for a mail merge, and as text. Users with a device, and those of the station, are not listed."""
    staged, own, done, key = people(4)
    assert (
        rollout.desk.run("enroll", done, "--with", "virtual", "--codes", "generated", "-r", rollout.recipient).code == 0
    )
    rows = [
        f"{staged},virtual,{rollout.recipient},{staged}@example.com",
        f"{own},self,,{own}@example.com",
        f"{done},self,,",
        f"{key},oath,,",
    ]
    rollout.plan(*rows, columns="user,kind,recipient,email")
    planned = json.loads(rollout.file.read_text())["made"]
    before = json.loads(rollout.desk.run("rollout", "remind", rollout.file, "--output", "json").out)["rows"]
    assert [row["user"] for row in before] == [own]
    run = json.loads(rollout.apply("--stage", "--output", "json").out)["run"]
    found = rollout.desk.run("rollout", "remind", rollout.file, "--output", "json")
    first, second = json.loads(found.out)["rows"]
    assert found.code == 0
    assert (first["user"], first["email"], first["waiting_for"]) == (staged, f"{staged}@example.com", "proof")
    assert (first["since"], first["days"]) == (iso_time(run_time(run)), 0)
    assert first["file"].startswith(str(rollout.desk.home / "backups" / "users"))
    assert second == {
        "user": own, "email": f"{own}@example.com", "waiting_for": "self", "since": planned, "days": 0,
        "device": None, "file": None,
    }  # fmt: skip
    table = list(
        csv.DictReader(rollout.desk.run("rollout", "remind", rollout.file, "--output", "csv").out.splitlines())
    )
    assert [(row["user"], row["email"]) for row in table] == [
        (staged, f"{staged}@example.com"),
        (own, f"{own}@example.com"),
    ]
    assert staged in rollout.desk.run("rollout", "remind", rollout.file).out


def test_no_one_is_left_to_remind(rollout: Rollout, people: People) -> None:
    """After everyone is enrolled, the list is empty."""
    rollout.enroll(people(1))
    done = rollout.desk.run("rollout", "remind", rollout.file)
    assert (done.code, done.out) == (0, "no one has to be reminded\n")
