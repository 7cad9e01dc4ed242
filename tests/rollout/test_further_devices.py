"""Rosters that give users one more device, or exchange one: rows, plans and names. Nothing is enrolled here."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.lab.aws.server import Lab
from mfa_kit.rollout.execution import RowOutcome
from tests.conftest import ACCOUNT
from tests.lab.client import Aws
from tests.rollout.conftest import Rollout

People = Callable[[int], list[str]]
COLUMNS = "user,kind,action,device_name,replaces"


@pytest.fixture
def aws(at_lab: Lab) -> Aws:
    return Aws(at_lab, (at_lab.admin.access_key_id, at_lab.admin.secret_access_key, None))


def steps(rollout: Rollout) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(rollout.file.read_text())["rows"]
    return rows


def shown(rollout: Rollout) -> list[tuple[str, str, str | None, str]]:
    """Return the user, kind, name and action of each step."""
    return [(step["user"], step["kind"], step.get("name"), step["action"]) for step in steps(rollout)]


def refused(rollout: Rollout, *rows: str, more: Sequence[str] = ()) -> str:
    """Return what `rollout plan` prints about a roster that it refuses."""
    done = rollout.desk.run("rollout", "plan", rollout.roster(*rows, columns=COLUMNS), "-o", rollout.file, *more)
    assert (done.code, rollout.file.exists()) == (2, False)
    return done.err


def test_users_with_a_phone_get_one_more_device(rollout: Rollout, people: People, aws: Aws) -> None:
    """They are not skipped, their devices are named after them, and a pair becomes two steps."""
    alice, bob = people(2)
    phones = [aws.enrolled(user) for user in (alice, bob)]
    rollout.plan(f"{alice},oath,add,,", f"{alice},pair,add,,", f"{bob},virtual,replace,desk,", columns=COLUMNS)
    assert shown(rollout) == [
        (alice, "oath", f"{alice}-key", "bench"),
        (alice, "oath", f"{alice}-key-2", "bench"),
        (alice, "fido2", f"{alice}-key-2-2", "bench"),
        (bob, "virtual", "desk", "enroll"),
    ]
    found = steps(rollout)
    assert [step["devices"] for step in found] == [[phones[0]]] * 3 + [[phones[1]]]
    assert [step.get("replaces") for step in found] == [None, None, None, phones[1]]
    assert [step.get("pair") for step in found] == [None, True, True, None]


def test_a_plan_with_further_devices_can_be_read_again(rollout: Rollout, people: People, aws: Aws) -> None:
    """Also the halves of a pair of a user without a device, who has two rows with the same user."""
    alice, bob = people(2)
    aws.enrolled(bob)
    rollout.plan(f"{alice},pair,,,", f"{bob},pair,replace,,", columns=COLUMNS)
    assert shown(rollout) == [
        (alice, "oath", f"{alice}-key", "bench"),
        (alice, "fido2", f"{alice}-key-2", "bench"),
        (bob, "oath", f"{bob}-key", "bench"),
        (bob, "fido2", f"{bob}-key-2", "bench"),
    ]
    rows = json.loads(rollout.desk.run("rollout", "status", rollout.file, "--output", "json").out)["rows"]
    assert [(row["user"], row["name"], row["outcome"]) for row in rows] == [
        (alice, f"{alice}-key", "waiting"),
        (alice, f"{alice}-key-2", "waiting"),
        (bob, f"{bob}-key", "waiting"),
        (bob, f"{bob}-key-2", "waiting"),
    ]


def test_rows_without_an_action_are_named(rollout: Rollout, people: People, aws: Aws) -> None:
    """Users with a phone whose row has a key, but no action, are skipped, and that is said."""
    alice, bob, carol = people(3)
    for user in (alice, bob, carol):
        aws.enrolled(user)
    roster = rollout.roster(
        f"{alice},oath,desk", f"{bob},virtual,desk", f"{carol},fido2,post", columns="user,kind,delivery"
    )
    done = rollout.desk.run("rollout", "plan", roster, "-o", rollout.file)
    assert f"skipped, because they have a device: {alice}, {carol}; to give them one more" in done.err, done.err
    assert "write the action add" in done.err


def test_two_rows_with_one_device_name(rollout: Rollout, people: People, aws: Aws) -> None:
    """The users of an account share the names of virtual devices, and a user's phone is not a new key."""
    alice, bob = people(2)
    phone = rollout.desk.run("enroll", bob, "--with", "virtual", "--codes", "generated", "-r", rollout.recipient)
    assert phone.code == 0, phone.err
    aws.enrolled(alice)
    rollout.plan(f"{alice},oath,add,spare,", f"{bob},oath,add,spare,", columns=COLUMNS)
    assert [step["action"] for step in steps(rollout)] == ["bench", "blocked"]
    assert f"another row, of {alice}, has this device name too" in steps(rollout)[1]["reason"]
    rollout.plan(f"{bob},oath,add,{bob},", columns=COLUMNS)
    assert [step["action"] for step in steps(rollout)] == ["blocked"]
    assert "the device name is taken" in steps(rollout)[0]["reason"]


def test_a_second_plan_of_the_same_roster_adds_nothing(rollout: Rollout, people: People, aws: Aws) -> None:
    """The rows whose device is there are skipped, and still know which device they replace."""
    alice, bob, carol = people(3)
    phone = aws.enrolled(alice)
    aws.enable(alice, aws.create(f"{alice}-key"))
    key = rollout.lab.register_fido(bob, f"{bob}-key")
    aws.enrolled(carol)
    rollout.plan(f"{alice},oath,replace,,", f"{bob},fido2,add,,", f"{carol},pair,,,", columns=COLUMNS)
    assert [step[3] for step in shown(rollout)] == ["skip", "skip", "skip", "skip"]
    assert steps(rollout)[0]["replaces"] == phone
    assert steps(rollout)[1]["devices"] == [key]


def test_the_old_device_must_be_known(rollout: Rollout, people: People, aws: Aws) -> None:
    """One sentence for each: several devices, none, a wrong name, and two rows for one device."""
    none, two, wrong, both = people(4)
    aws.enrolled(two)
    aws.enable(two, aws.create(f"{two}-second"))
    aws.enrolled(wrong)
    phone = aws.enrolled(both)
    rollout.plan(
        f"{none},oath,replace,,",
        f"{two},oath,replace,,",
        f"{two},oath,replace,x,{two}-second",
        f"{wrong},oath,replace,,tablet",
        f"{both},oath,replace,,",
        f"{both},oath,replace,,{phone}",
        columns=COLUMNS,
    )
    reasons = [step.get("reason", "") for step in steps(rollout)]
    assert [step[3] for step in shown(rollout)] == ["blocked", "blocked", "bench", "blocked", "bench", "blocked"]
    assert reasons[0] == "there is no device to replace; write the action enroll"
    assert reasons[1].endswith("; name the device to replace in the column replaces")
    assert "has no device tablet to replace" in reasons[3]
    assert reasons[5] == f"another row already replaces {phone}; write the action add"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("u,oath,exchange,,", "'exchange' is not one of the words for this column; use enroll, add, replace"),
        ("u,oath,add,,phone", "a device is named here, but the action is add; write replace"),
        ("u,self,add,,", "users who enroll themselves can only have the action enroll"),
        ("u,oath,replace,,x y", "'x y' is not the name of a device"),
    ],
)
def test_a_wrong_row_is_one_sentence(rollout: Rollout, row: str, words: str) -> None:
    assert words in refused(rollout, row)


def test_rows_for_one_device_name_are_duplicates(rollout: Rollout) -> None:
    """Two further devices of one user are not, and neither are a first and a further one."""
    said = refused(rollout, "u,oath,add,x,", "u,oath,add,y,", "u,oath,add,X,", "u,virtual,,,")
    assert "line 4, user: 'u' is a duplicate of line 2" in said
    assert "line 5" not in said


def test_the_credential_report_cannot_say_which_devices_a_user_has(rollout: Rollout, people: People) -> None:
    [user] = people(1)
    assert "omit --trust-report" in refused(rollout, f"{user},oath,add,,", more=["--trust-report"])


def test_a_phone_is_added_by_apply(rollout: Rollout, people: People, aws: Aws) -> None:
    """Both of the user's rows are done, a second run finds them, and the phone that was there stays."""
    alice, bob = people(2)
    phone = aws.enrolled(alice)
    recipient = rollout.recipient
    rollout.plan(f"{alice},virtual,add,,,{recipient}", f"{bob},virtual,,,,{recipient}", columns=f"{COLUMNS},recipient")
    results = json.loads(rollout.apply("--output", "json").out)["rows"]
    added = phone.replace(f"mfa/{alice}", f"mfa/{alice}-key")
    assert {(row["user"], row["name"], row["outcome"], row["device"]) for row in results} == {
        (alice, f"{alice}-key", "enrolled", added),
        (bob, None, "enrolled", phone.replace(alice, bob)),
    }
    listed = aws.iam.list_mfa_devices(UserName=alice)["MFADevices"]
    assert {device["SerialNumber"] for device in listed} == {phone, added}
    assert {row["outcome"] for row in json.loads(rollout.apply("--output", "json").out)["rows"]} == {"enrolled"}


def test_each_device_of_a_user_is_handed_over(rollout: Rollout, people: People, tmp_path: Path) -> None:
    """Two phones of one user are two folders with a letter each."""
    [user] = people(1)
    rows = [f"{user},virtual,enroll,,,{rollout.recipient}", f"{user},virtual,add,,,{rollout.recipient}"]
    rollout.plan(*rows, columns=f"{COLUMNS},recipient")
    assert rollout.apply().code == 0
    done = rollout.desk.run("rollout", "handover", rollout.file, "-o", tmp_path / "letters")
    assert done.code == 0, done.err
    assert {folder.name for folder in (tmp_path / "letters").iterdir()} == {user, f"{user}~2", "handover.csv"}
    assert f"{user}-key" in (tmp_path / "letters" / f"{user}~2" / "letter.txt").read_text()


def test_rows_to_try_again_are_a_roster_that_plans_the_same_devices(rollout: Rollout, people: People, aws: Aws) -> None:
    """One row for a pair, also if only one of its halves is left."""
    alice, bob = people(2)
    phones = [aws.enrolled(user) for user in (alice, bob)]
    aws.enable(alice, aws.create(f"{alice}-spare"))  # without which a security key by post is refused
    columns = f"{COLUMNS},profile,delivery"
    rollout.plan(f"{alice},pair,replace,,{phones[0]},std,post", f"{bob},virtual,replace,,,,", columns=columns)
    before = steps(rollout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mfa_kit.rollout.apply.TO_RETRY", {*RowOutcome})
        assert rollout.apply("--accept-lockout").code == 0
    again = (rollout.results / "failed.csv").read_text()
    assert again.splitlines()[1].startswith(f'"{alice}","pair","{alice}-key"')
    assert again.splitlines()[1].endswith(f'"replace","{phones[0]}","std","post"')
    (rollout.folder / "again.csv").write_text(again)
    rollout.desk.run("rollout", "plan", rollout.folder / "again.csv", "-o", rollout.file)
    assert [step["name"] for step in steps(rollout)] == [step["name"] for step in before]
    assert steps(rollout)[0] == before[0]


def test_a_new_device_never_has_the_name_of_the_old_one(rollout: Rollout, people: People, aws: Aws) -> None:
    """Whether the roster names the old device or its ARN. Without a name, nothing is taken for done."""
    [alice] = people(1)
    old = aws.create(f"{alice}-key")
    aws.enable(alice, old)
    for replaced in (f"{alice}-key", f"arn:aws:iam::{ACCOUNT}:mfa/{alice}-key"):
        rollout.plan(f"{alice},virtual,replace,,{replaced}", columns=COLUMNS)
        assert shown(rollout) == [(alice, "virtual", f"{alice}-key-2", "enroll")]
        assert steps(rollout)[0]["replaces"] == old
    rollout.plan(f"{alice},virtual,replace,,", columns=COLUMNS)
    assert "may be the old device" in steps(rollout)[0]["reason"]
    rollout.file.unlink()
    assert "would have the name" in refused(rollout, f"{alice},virtual,replace,{alice}-key,{alice}-key")


def test_the_name_of_a_security_key_is_passed_over_for_both_halves(rollout: Rollout, people: People) -> None:
    """However the roster writes it, and also if a half would get the name of the old key."""
    [alice] = people(1)
    key = rollout.lab.register_fido(alice, f"{alice}-key-2")
    for replaced in (f"{alice}-key-2", key, key.rpartition("/")[2]):
        rollout.plan(f"{alice},pair,replace,,{replaced}", columns=COLUMNS)
        assert [(step["name"], step["replaces"]) for step in steps(rollout)] == [
            (f"{alice}-key-3", key),
            (f"{alice}-key-3-2", key),
        ]
