"""Tests of the station: simulated keys are plugged into and removed from a real PC/SC service, with many mistakes."""

import base64
import csv
import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.adapters.files.rollout_files import read_records
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.device_records import DeviceState
from mfa_kit.core.models import JournalState
from mfa_kit.lab.aws.mfa_devices import Display
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.oathcard import CALCULATE, PUT, YkoathCard
from tests import pcsc
from tests.conftest import ACCOUNT, MfaKit, Result, bare
from tests.lab.client import Aws
from tests.ledgers import open_at
from tests.postgresql import Server
from tests.rollout.conftest import Rollout
from tests.rollout.person import Act, AtStation
from tests.terminal.spawn import MFA_KIT
from tests.terminal.window import Window

People = Callable[[int], list[str]]
KEYS = "user,kind"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session", autouse=True)
def _readers_end() -> Iterator[None]:
    with pcsc.stopped():
        yield


@pytest.fixture(autouse=True)
def _no_key_is_in() -> None:
    pcsc.plug()


def serial_of(user: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:mfa/{user}"


def label_of(user: str) -> bytes:
    return f"AWS:{user}@{ACCOUNT}".encode()


def keys(*serials: int) -> list[YkoathCard]:
    return [YkoathCard(serial=serial) for serial in serials]


def put(*cards: YkoathCard | None, first: Callable[[], object] = lambda: None) -> Act:
    """Leave only these keys in the readers. `first` is called while the readers are empty."""

    def last() -> None:
        first()
        pcsc.plug(*cards)

    return pcsc.plug, last


def have(*cards: YkoathCard) -> Act:
    """Leave only these keys in the readers."""
    return (partial(pcsc.plug, *cards),)


def station(rollout: Rollout, *acts: str | Act, codes: Iterable[str] = (), more: tuple[str | Path, ...] = ()) -> Result:
    """Work through the plan, with these acts of the person."""
    person = AtStation(*acts, codes=codes)
    with person.there():
        done = rollout.desk.run("rollout", "station", rollout.file, "--no-touch", *more)
    return Result(done.code, done.out, "\n".join([done.err, *person.asked, *person.told]))


@contextmanager
def sitting_at(home: Path) -> Iterator[None]:
    """Use another folder for mfa-kit's files, as at another computer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MFA_KIT_HOME", str(home))
        yield


def outcomes(rollout: Rollout) -> dict[str, str]:
    with (rollout.results / "results.csv").open() as file:
        return {row["user"]: row["outcome"] for row in csv.DictReader(file)}


def holds(lab: Lab, card: YkoathCard, *users: str) -> None:
    """Check that a key has IAM's secrets of these users' devices, and no others."""
    assert {name: held.key for name, held in card.credentials.items()} == {
        label_of(user): lab.seed(serial_of(user)) for user in users
    }
    assert [lab.assigned(serial_of(user)) for user in users] == list(users)


def nothing_is_half_made(rollout: Rollout) -> None:
    with sqlite_ledger(rollout.desk.home) as ledger:
        assert list(ledger.dead(ACCOUNT)) == []


def test_each_user_gets_the_key_that_was_inserted(rollout: Rollout, people: People, lab: Lab) -> None:
    """It has IAM's secret, and the tags identify it. Results are printed one per line, and written as by apply."""
    users, cards = people(2), keys(1001, 1002)
    rollout.plan(f"{users[0]},oath,,team=a", f"{users[1]},oath,desk-7", columns="user,kind,asset,tags")
    done = station(rollout, put(cards[0]), put(cards[1]), more=("--output", "jsonl", "-r", rollout.recipient))
    assert done.code == 0, done.err
    for user, card in zip(users, cards, strict=True):
        holds(lab, card, user)
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [(row["schema"], row["user"], row["outcome"]) for row in rows] == [
        ("mfa-kit/rollout-bench", user, "enrolled") for user in users
    ]
    assert all(Path(row["backup"]).is_file() for row in rows)
    assert outcomes(rollout) == dict.fromkeys(users, "enrolled")
    assert (rollout.results / "failed.csv").read_text().count("\n") == 1
    tags = [lab.account.backend.device(serial_of(user)).tags for user in users]
    assert [each["mfa-kit:serial"] for each in tags] == ["1001", "desk-7"]
    assert tags[0]["team"] == "a"
    assert len({each["mfa-kit:card"] for each in tags}) == 2
    assert f"insert the key for {users[1]} (2 of 2;" in done.err
    assert done.err.count("you can remove the key now") == 2


def test_a_key_of_another_user_is_refused(rollout: Rollout, people: People, lab: Lab) -> None:
    """The journal knows it from this run, although the key was wiped. The next key is accepted."""
    users, (one, two) = people(2), keys(1001, 1002)
    rollout.plan(*[f"{user},oath" for user in users], columns=KEYS)
    done = station(rollout, put(one), put(one, first=one.credentials.clear), put(two))
    assert done.code == 0, done.err
    assert f"1001 is already in use: it belongs to {users[0]} (run " in done.err
    assert one.credentials == {}
    holds(lab, two, users[1])


@pytest.mark.parametrize(("wiped", "said"), [(False, "it contains AWS:"), (True, " (arn:aws:iam::000000000000:mfa/")])
def test_a_key_assigned_by_another_computer_is_refused(
    rollout: Rollout, people: People, lab: Lab, tmp_path: Path, wiped: bool, said: str
) -> None:
    """It is recognized by its credentials. Once it is empty, it is recognized by the tags."""
    users, (one, two) = people(2), keys(1001, 1002)
    rollout.plan(*[f"{user},oath" for user in users], columns=KEYS)
    there = Rollout(rollout.folder, MfaKit(tmp_path / "other", rollout.desk.env), lab, rollout.identity)
    with sitting_at(there.desk.home):
        theirs = ("--only", users[0], "--results", str(tmp_path / "theirs"))
        assert station(there, put(one), more=theirs).code == 0
    if wiped:
        one.credentials.clear()
    done = station(rollout, put(one), put(two))
    assert done.code == 0, done.err
    assert said in done.err
    assert users[0] in done.err.partition("is already in use")[2].partition("\n")[0]
    holds(lab, two, users[1])
    assert outcomes(rollout) == {users[0]: "skipped", users[1]: "enrolled"}


@contextmanager
def sharing(postgresql: Server) -> Iterator[str]:
    """Let all computers use one ledger, and return its address."""
    address = postgresql.address(postgresql.new_database())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MFA_KIT_LEDGER", address)
        yield address


def test_two_stations_with_one_box_never_give_a_key_twice(
    rollout: Rollout, people: People, lab: Lab, tmp_path: Path, postgresql: Server
) -> None:
    """Only the shared ledger knows the key: it was wiped, IAM's tags cannot be read, and the plan is another one."""
    (first, second), (one, two) = people(2), keys(1001, 1002)
    with sharing(postgresql):
        rollout.plan(f"{first},oath", columns=KEYS)
        with sitting_at(tmp_path / "other"):
            assert station(rollout, put(one), more=("--local-backups",)).code == 0
        one.credentials.clear()
        rollout.plan(f"{second},oath", columns=KEYS)
        lab.faults.add("ListMFADeviceTags", "denied", at="every")
        done = station(rollout, put(one), put(two), more=("--local-backups",))
    assert done.code == 0, done.err
    assert f"1001 is already in use: it belongs to {first} (run " in done.err
    assert one.credentials == {}
    holds(lab, two, second)


def test_two_stations_with_one_plan_give_a_user_one_key(
    rollout: Rollout, people: People, lab: Lab, tmp_path: Path, postgresql: Server
) -> None:
    """Both ask for the key of the first user. The second one to get it changes no key, and goes on to the next user."""
    users, (one, two) = people(2), keys(1001, 1002)
    rollout.plan(*[f"{user},oath" for user in users], columns=KEYS)
    with sharing(postgresql) as address:

        def meanwhile() -> None:
            with sitting_at(tmp_path / "other"):
                more = ("--local-backups", "--only", users[0], "--results", tmp_path / "other-results")
                assert station(rollout, put(one), more=more).code == 0
            pcsc.plug()

        done = station(rollout, put(two, first=meanwhile), put(two), more=("--local-backups",))
        with open_at(address) as ledger:
            assert list(ledger.dead(ACCOUNT)) == []
    assert done.code == 0, done.err
    holds(lab, one, users[0])
    holds(lab, two, users[1])
    assert outcomes(rollout) == dict.fromkeys(users, "enrolled")


def test_a_device_made_meanwhile_is_known_by_its_tags(
    rollout: Rollout, people: People, lab: Lab, tmp_path: Path
) -> None:
    """Another computer made it since the last list, for a user who is not in this plan."""
    (*users, other), (one, two, three) = people(3), keys(1001, 1002, 1003)
    rollout.plan(*[f"{user},oath" for user in users], columns=KEYS)

    def meanwhile() -> None:
        pcsc.plug(two)
        with sitting_at(tmp_path / "other"):
            done = rollout.desk.run("enroll", other, "--with", "oath", "--no-touch", "--asset", "theirs")
        assert done.code == 0, done.err
        two.credentials.clear()
        pcsc.plug()

    done = station(rollout, put(one), put(two, first=meanwhile), put(three))
    assert done.code == 0, done.err
    assert f"it belongs to {other} ({serial_of(other)})" in done.err
    holds(lab, three, users[1])


def test_unreadable_tags_are_reported_once(rollout: Rollout, people: People, lab: Lab, tmp_path: Path) -> None:
    """The credentials on the key still count."""
    (first, second, third), (one, two) = people(3), keys(1001, 1002)
    card = YkoathCard()
    pcsc.plug(card)
    for user in (first, second):
        with sitting_at(tmp_path / "other"):
            assert rollout.desk.run("enroll", user, "--with", "oath", "--no-touch", "--yes").code == 0
    rollout.plan(f"{third},oath", columns=KEYS)
    plan = json.loads(rollout.file.read_text())
    plan["rows"] += [{**plan["rows"][0], "user": user} for user in (first, second)]
    rollout.file.write_text(json.dumps(plan))
    one.credentials.update(card.credentials)
    lab.faults.add("ListMFADeviceTags", "denied", at="every")
    done = station(rollout, put(one), put(two))
    assert done.code == 0, done.err
    assert done.err.count("cannot check which keys other computers have assigned") == 1
    assert "is already in use: it contains AWS:" in done.err


def mended(card: YkoathCard) -> None:
    card.quirks.pulled_by = 0


@pytest.mark.parametrize("when", [PUT, CALCULATE])
def test_a_removed_key_continues_when_it_is_back(rollout: Rollout, people: People, lab: Lab, when: int) -> None:
    """The half-made device is settled first and no row is lost. The failure is not final."""
    (user,), (card,) = people(1), keys(1001)
    rollout.plan(f"{user},oath", columns=KEYS)
    card.quirks.pulled_by = when
    done = station(rollout, put(card), put(card, first=partial(mended, card)))
    assert done.code == 0, done.err
    assert "was removed" in done.err
    holds(lab, card, user)
    nothing_is_half_made(rollout)


def test_a_lost_key_is_replaced_by_another_key(rollout: Rollout, people: People, lab: Lab) -> None:
    """The other key gets a new run. When the lost key turns up, it is cleaned and given to the next user."""
    users, (lost, other) = people(2), keys(1001, 1002)
    rollout.plan(*[f"{user},oath" for user in users], columns=KEYS)
    lost.quirks.pulled_by = CALCULATE
    done = station(rollout, put(lost), put(other), put(lost, first=partial(mended, lost)))
    assert done.code == 0, done.err
    holds(lab, other, users[0])
    holds(lab, lost, users[1])
    nothing_is_half_made(rollout)


def test_a_key_inserted_from_the_start_needs_enter(rollout: Rollout, people: People, lab: Lab) -> None:
    """It may be the admin's own key. Two keys that are inserted at once are refused."""
    users, (own, two, three) = people(2), keys(1001, 1002, 1003)
    rollout.plan(*[f"{user},oath" for user in users], columns=KEYS)
    pcsc.plug(own)
    done = station(
        rollout,
        have(own, two, three),
        "",
        have(own, two),
        "",
        (*have(own), *have(own, three)),
    )
    assert done.code == 0, done.err
    assert "YubiKey 5A 1001 was already inserted, so it is not used" in done.err
    assert ") were inserted; leave only one inserted" in done.err
    assert "3 keys (" in done.err
    assert own.credentials == {}
    holds(lab, two, users[0])
    holds(lab, three, users[1])


def test_enter_uses_the_only_inserted_key(rollout: Rollout, people: People, lab: Lab) -> None:
    """If the first user's key is already inserted, it need not be removed."""
    (user,), (card,) = people(1), keys(1001)
    rollout.plan(f"{user},oath", columns=KEYS)
    pcsc.plug(card)
    assert station(rollout, "").code == 0
    holds(lab, card, user)
    rollout.plan(f"{people(1)[0]},oath", columns=KEYS)
    pcsc.plug()
    done = station(rollout, "", "q")
    assert "no key is inserted" in done.err


def test_a_row_can_be_skipped_and_called_again(rollout: Rollout, people: People, lab: Lab) -> None:
    """Typing b goes back to the last row that is not done, even from the end."""
    (a, b, c), cards = people(3), keys(1001, 1002, 1003)
    rollout.plan(*[f"{user},oath" for user in (a, b, c)], columns=KEYS)
    done = station(
        rollout, "b", "s", "what", put(cards[1]), "b", "skip", "s", "x", "back", put(cards[2]), "b", put(cards[0])
    )
    assert done.code == 0, done.err
    for user, card in zip((a, b, c), cards, strict=True):
        holds(lab, card, user)
    called = [line.partition(" (")[0] for line in done.err.splitlines() if "; s skip, b back" in line]
    assert called == [f"insert the key for {user}" for user in (a, a, b, b, c, a, c, c, a)]
    assert f"end of the list, 2 users not done ({a}, {c})" in done.err
    assert "there is no earlier row to go back to" in done.err
    assert "'what' is not a valid answer: type s to skip" in done.err


def test_a_user_who_left_meanwhile_and_a_full_user_are_one_sentence_each(
    rollout: Rollout, people: People, lab: Lab
) -> None:
    """The next user gets the key that was meant for them."""
    (gone, full, last), (one, two) = people(3), keys(1001, 1002)
    for user in (full, last):
        lab.register_fido(user, "first")
    rollout.plan(f"{gone},oath,", f"{full},oath,add", f"{last},oath,add", columns="user,kind,action")
    lab.account.backend.delete_user(gone)
    for number in range(7):
        lab.register_fido(full, f"key{number}")
    done = station(rollout, put(one), "s", put(two), "")
    assert done.code == 1
    assert f"mfa-kit: {gone}: " in done.err
    assert f"{full} has 8 MFA devices, the maximum that IAM allows" in done.err
    assert outcomes(rollout) == {gone: "failed", full: "failed", last: "enrolled"}
    assert one.credentials == {}
    assert [*two.credentials] == [label_of(f"{last}-key")]


def test_the_journal_knows_the_key_of_the_last_attempt(rollout: Rollout, people: People, lab: Lab) -> None:
    """The first key computes wrong codes. It belongs to nobody, and the second key to the user."""
    (user,), (bad, good) = people(1), keys(1001, 1002)
    rollout.plan(f"{user},oath", columns=KEYS)
    bad.quirks.wrong_codes = True
    done = station(rollout, put(bad), put(good))
    assert done.code == 0, done.err
    holds(lab, good, user)
    with sqlite_ledger(rollout.desk.home) as ledger:
        assert [entry.spec.hardware for entry in ledger.made(ACCOUNT)] == ["1002"]


def test_a_station_continues_after_quitting(rollout: Rollout, people: People) -> None:
    """The exit code is 1 while rows are left. The results and `failed.csv` name all users who are left."""
    (a, b, c), cards = people(3), keys(1001, 1002, 1003)
    rollout.plan(*[f"{user},oath" for user in (a, b, c)], columns=KEYS)
    cards[1].quirks.wrong_codes = True
    done = station(rollout, put(cards[0]), put(cards[1]), "s", "q")
    assert done.code == 1
    assert outcomes(rollout) == {a: "enrolled", b: "failed", c: "not started"}
    failed = (rollout.results / "failed.csv").read_text().splitlines()
    assert [row[0] for row in csv.reader(failed)] == ["user", b, c]
    found = json.loads(rollout.desk.run("rollout", "status", rollout.file, "--output", "json").out)["rows"]
    assert [(row["outcome"], row["cause"]) for row in found] == [
        ("enrolled", None),
        ("failed", "DeviceFault"),
        ("waiting", None),
    ]
    pcsc.plug()
    done = station(rollout, "s", put(cards[2]), "b", "s", "q")
    assert done.code == 1
    assert f"insert the key for {b} (2 of 3;" in done.err
    assert f"insert the key for {a}" not in done.err
    assert "already done: 1 of 3 users" in done.err
    assert outcomes(rollout) == {a: "enrolled", b: "failed", c: "enrolled"}


def test_ctrl_c_cancels_a_row_and_a_second_one_the_session(
    rollout: Rollout, people: People, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the row is left, and the results are written."""
    (user,), (card,) = people(1), keys(1001)
    rollout.plan(f"{user},oath", columns=KEYS)

    def stop() -> None:
        raise KeyboardInterrupt

    real = card.answer

    def touched(message: bytes) -> bytes:
        if message[1] == CALCULATE:
            os.kill(os.getpid(), signal.SIGINT)
        return real(message)

    monkeypatch.setattr(card, "answer", touched)
    done = station(rollout, put(card), [stop])
    assert done.code == 130
    assert f"{user}: interrupted" in done.err
    assert f"to continue: mfa-kit rollout station {rollout.file} --no-touch\n" in done.err
    assert outcomes(rollout) == {user: "not started"}
    assert card.credentials == {}
    assert serial_of(user) not in lab.serials()
    nothing_is_half_made(rollout)


def test_a_token_is_enrolled_for_one_user_only(rollout: Rollout, people: People, lab: Lab) -> None:
    """The roster has its serial. A second row with the same serial fails, and apply knows about the first row."""
    users, display = people(2), Display(base64.b32encode(bytes(range(20))).decode())
    lab.add_token("GAHT55500001", display.secret)
    rollout.plan(*[f"{user},hardware-totp,GAHT55500001" for user in users], columns="user,kind,serial")
    read = (display.shows(lab.account.now() - wait) for wait in (30, 0))
    done = station(rollout, "", "", "s", "q", codes=read)
    assert done.code == 1
    assert f"take token GAHT55500001 for {users[1]}, and press Enter (2 of 2;" in done.err
    assert f"token GAHT55500001 belongs to {users[0]}" in done.err
    assert lab.assigned("GAHT55500001") == users[0]
    assert outcomes(rollout) == {users[0]: "enrolled", users[1]: "failed"}
    rollout.apply()
    assert outcomes(rollout) == {users[0]: "enrolled", users[1]: "waiting"}
    nothing_is_half_made(rollout)


def test_a_programmable_token_is_a_kind_of_roster(rollout: Rollout, people: People, lab: Lab) -> None:
    """The user has a phone already. The device is virtual, and its seed is written to the token of the roster."""
    [user] = people(1)
    aws = Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))
    phone = aws.enrolled(user)
    rollout.plan(f"{user},programmable,add,8650012345", columns="user,kind,action,serial")

    def read() -> Iterator[str]:
        display = Display(base64.b32encode(lab.seed(serial_of(f"{user}-key"))).decode())
        yield from (display.shows(lab.account.now() - wait) for wait in (30, 0))

    done = station(rollout, "", codes=read(), more=("--capacity", "63", "-r", rollout.recipient))
    assert done.code == 0, done.err
    assert f"take token 8650012345 for {user}" in done.err
    assert [device["SerialNumber"] for device in aws.iam.list_mfa_devices(UserName=user)["MFADevices"]] == [
        phone,
        serial_of(f"{user}-key"),
    ]


def test_a_user_enrolled_meanwhile_is_passed_over(rollout: Rollout, people: People, lab: Lab) -> None:
    """Another computer enrolls a user before or after their row is called. The row of a deleted user fails."""
    (a, b, c, d), (one, two) = people(4), keys(1001, 1002)
    rollout.plan(*[f"{user},oath" for user in (a, b, c, d)], columns=KEYS)

    def others() -> None:
        lab.register_fido(b, "theirs")
        lab.account.backend.delete_user(c)

    done = station(rollout, put(one, first=others), put(two, first=lambda: lab.register_fido(d, "theirs")), "")
    assert done.code == 1
    assert outcomes(rollout) == {a: "enrolled", b: "skipped", c: "failed", d: "skipped"}
    assert two.credentials == {}
    assert "of which this computer has no backup" not in done.err


def test_a_failed_lookup_does_not_end_the_session(rollout: Rollout, people: People, lab: Lab) -> None:
    """The error is shown, and the row is called nevertheless."""
    (user,), (card,) = people(1), keys(1001)
    rollout.plan(f"{user},oath", columns=KEYS)
    lab.faults.add("ListMFADevices", "denied", at=2)
    done = station(rollout, put(card))
    assert done.code == 0, done.err
    assert f"mfa-kit: {user}: AWS answers" in done.err
    holds(lab, card, user)


def test_a_failing_disk_ends_the_session_with_results(rollout: Rollout, people: People, lab: Lab) -> None:
    """The exit code is 5, and nothing of the row is left. The session ends, because the next row would fail too."""
    users, (card,) = people(2), keys(1001)
    rollout.plan(*[f"{user},oath" for user in users], columns=KEYS)
    folder = rollout.folder / "backups"
    folder.mkdir()
    (folder / ACCOUNT).write_text("in the way")
    done = station(rollout, put(card), more=("-r", rollout.recipient, "--backup-dir", folder))
    assert done.code == 5, done.err
    assert outcomes(rollout) == dict.fromkeys(users, "not started")
    assert card.credentials == {}
    assert serial_of(users[0]) not in lab.serials()
    nothing_is_half_made(rollout)


def test_a_device_of_a_dead_session_is_settled_with_its_key(rollout: Rollout, people: People, lab: Lab) -> None:
    """The station settles it even if the plan was made later. The plan then mentions it."""
    (user,), (card,) = people(1), keys(1001)
    card.quirks.pulled_by = CALCULATE
    pcsc.plug(card)
    lab.faults.add("DeleteVirtualMFADevice", "denied", at="every")
    assert rollout.desk.run("enroll", user, "--with", "oath", "--no-touch").code == 3
    lab.faults.clear()
    card.quirks.pulled_by = 0
    rollout.plan(f"{user},oath", columns=KEYS)
    (row,) = json.loads(rollout.file.read_text())["rows"]
    assert (row["action"], row["repair"]) == ("blocked", True)
    assert "`rollout station` finishes or removes it first" in row["reason"]
    assert station(rollout, put(card)).code == 0
    holds(lab, card, user)
    nothing_is_half_made(rollout)


def test_apply_and_station_leave_each_others_rows(rollout: Rollout, people: People) -> None:
    """Each of them writes the status of all rows."""
    (phone, key), (card,) = people(2), keys(1001)
    rollout.plan(f"{phone},virtual", f"{key},oath", columns=KEYS)
    assert station(rollout, put(card)).code == 0
    assert outcomes(rollout) == {phone: "not started", key: "enrolled"}
    assert rollout.apply("--accept-lockout").code == 0
    assert outcomes(rollout) == {phone: "enrolled", key: "enrolled"}
    done = station(rollout, more=("--with", "oath"))
    assert done.code == 0
    assert "already done: 1 of 1 user" in done.err


def test_rows_that_the_option_leaves_out_are_counted(rollout: Rollout, people: People) -> None:
    """Otherwise a session for phones looks complete, although users with keys still wait."""
    phone, *keys = people(3)
    rollout.plan(f"{phone},virtual", *[f"{user},oath" for user in keys], columns=KEYS)
    done = rollout.desk.run("rollout", "station", rollout.file, "--with", "virtual", "--dry-run")
    assert "left out because of --with: 2 rows of other kinds (oath)\n" in done.err
    both = rollout.desk.run("rollout", "station", rollout.file, "--with", "virtual", "--with", "oath", "--dry-run")
    assert (both.code, "left out" in both.err) == (0, False)


@pytest.mark.parametrize("verb", ["station", "bench"])
def test_a_dry_run_shows_the_queue_without_prompts(rollout: Rollout, people: People, verb: str) -> None:
    """Nothing is written, locally or in IAM.

    The command's former name `bench` works, is not listed, and prints a note.
    """
    users = people(2)
    rollout.plan(*[f"{user},oath" for user in users], columns=KEYS)
    done = rollout.desk.run("rollout", verb, rollout.file, "--dry-run", "--output", "json")
    assert [(row["user"], row["outcome"]) for row in json.loads(done.out)["rows"]] == [
        (user, "waiting") for user in users
    ]
    assert not rollout.results.exists()
    assert ("use mfa-kit rollout station" in done.err) == (verb == "bench")
    assert f"{users[0]}: waiting: to be enrolled in person" in done.err
    assert "  bench" not in rollout.desk.run("rollout", "--help").out


def test_bad_input_has_its_own_exit_codes(rollout: Rollout, people: People) -> None:
    """Without a terminal it is 8, for a wrong plan or user 2, without a smart card service 3.

    An empty queue is no error.
    """
    (user,) = people(1)
    rollout.plan(f"{user},oath", columns=KEYS)
    command = ("rollout", "station", rollout.file)
    nobody = rollout.desk.run(*command)
    assert (nobody.code, "use a terminal" in nobody.err) == (8, True)
    assert rollout.desk.run(*command, "--expect-sha256", "00").code == 2
    unknown = station(rollout, more=("--only", "ghost"))
    assert (unknown.code, "plan or selection: ghost" in unknown.err) == (2, True)
    assert rollout.desk.run(*command, "--with", "sms").code == 2
    assert rollout.desk.run(*command, "--serial", "GAHT12345678").code == 2
    plan = json.loads(rollout.file.read_text())
    rollout.file.write_text(json.dumps({**plan, "account": "123456789012"}))
    assert "the plan is for account 123456789012" in station(rollout).err
    rollout.plan(f"{user},virtual", columns=KEYS)
    done = station(rollout)
    assert (done.code, "to enroll phone users in person, add --with virtual" in done.err) == (0, True)


# A real terminal


def environment(rollout: Rollout) -> dict[str, str]:
    more = {"TERM": "xterm-256color", "MFA_KIT_HOME": str(rollout.desk.home), "LC_ALL": "C.UTF-8"}
    return {**bare(), **rollout.desk.env, **pcsc.shared().env, **more}


def window(rollout: Rollout, *more: str) -> Window:
    command = [*MFA_KIT, "rollout", "station", str(rollout.file), *more]
    return Window(command, env=environment(rollout), cwd=rollout.folder, apart=False)


def test_at_a_terminal_keys_are_noticed_during_a_prompt(rollout: Rollout, people: People, lab: Lab) -> None:
    """A key is plugged in, touched and enrolled. The process is killed in the next row, and a second run continues."""
    users, (one, two) = people(2), keys(1001, 1002)
    rollout.plan(*[f"{user},oath" for user in users], columns=KEYS)
    shown = window(rollout)
    shown.see(f"insert the key for {users[0]} (1 of 2; s skip, b back, q quit):")
    pcsc.plug(one)
    shown.see(f"using YubiKey 5A 1001 for {users[0]}; do not remove it yet")
    shown.see("touch the key now")
    shown.see(f"{users[0]}: enrolled")
    shown.see("you can remove the key now")
    shown.see(f"insert the key for {users[1]} (2 of 2;")
    two.touch_delay = 20
    pcsc.plug()
    pcsc.plug(two)
    shown.see("touch the key now")
    shown.kill(signal.SIGKILL)
    assert shown.end() == -signal.SIGKILL
    pcsc.plug()
    two.touch_delay = 0
    again = window(rollout)
    again.see(f"insert the key for {users[1]} (2 of 2;")
    again.type("?")
    again.see("is not a valid answer: type s to skip")
    pcsc.plug(two)
    again.see(f"{users[1]}: enrolled")
    assert again.end() == 0
    holds(lab, one, users[0])
    holds(lab, two, users[1])
    nothing_is_half_made(rollout)
    assert {entry.reached for entry in entries(rollout)} == {JournalState.CONFIRMED}


def entries(rollout: Rollout) -> list[Any]:
    with sqlite_ledger(rollout.desk.home) as ledger:
        return list(ledger.made(ACCOUNT))


def test_ctrl_c_at_a_prompt_ends_with_results(rollout: Rollout, people: People) -> None:
    """The exit code is 130."""
    (user,) = people(1)
    rollout.plan(f"{user},oath", columns=KEYS)
    shown = window(rollout)
    shown.see(f"insert the key for {user} (1 of 1;")
    shown.type("\x03", end="")
    assert shown.end() == 130
    assert outcomes(rollout) == {user: "not started"}


def test_two_codes_at_the_desk_prove_the_new_device(rollout: Rollout, people: People, lab: Lab) -> None:
    """With another ledger, the record of the run proves it. Codes that mfa-kit computes itself prove nothing."""
    users, (card,) = people(2), keys(1001)
    aws = Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))
    phones = [aws.enrolled(user) for user in users]
    rollout.plan(f"{users[0]},oath,replace", f"{users[1]},virtual,replace", columns="user,kind,action")
    more = ("-r", rollout.recipient, "--with", "oath", "--with", "virtual", "--codes", "generated")
    done = station(rollout, put(card), "", more=more)
    assert done.code == 0, done.err
    states = read_records([rollout.results], computer="here").states
    assert [(state.user, state.state, state.how) for state in states] == [
        (users[0], DeviceState.PROVEN, "two codes at the desk")
    ]
    rollout.lose_ledger()
    done = rollout.desk.run("rollout", "finish", rollout.file, "--only", users[0])
    assert done.code == 0, done.err
    assert [phone in lab.serials() for phone in phones] == [False, True]
    done = rollout.desk.run("rollout", "undo", rollout.file, "--yes", "--leave-without-mfa")
    assert (done.code, f"has replaced {phones[0]}" in done.err) == (6, True), done.err
    assert [lab.assigned(serial) for serial in (serial_of(f"{users[0]}-key"), phones[1])] == users
