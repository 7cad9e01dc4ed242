"""Keys by post: prepared at the station, confirmed by the user, and only then enabled. The keys are simulated."""

import base64
import csv
import json
import stat
import subprocess
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import count, product
from pathlib import Path
from typing import Any
from unittest import mock

import pyrage
import pytest

from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.cli import terminal
from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.models import DeviceSpec, JournalEntry, JournalState, Method
from mfa_kit.lab.aws.mfa_devices import Display
from mfa_kit.lab.aws.server import Lab
from mfa_kit.rollout import execution, posting
from mfa_kit.rollout.further_devices import expand_rows
from mfa_kit.rollout.plan import Action, Plan, PlanStep
from mfa_kit.rollout.roster import RosterAction, RosterRow
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.oath_keys import PasswordFiles
from tests import pcsc
from tests.conftest import ACCOUNT, Result
from tests.lab.client import Aws
from tests.postgresql import Server
from tests.rollout.conftest import Rollout, key_file
from tests.rollout.person import AtStation
from tests.rollout.test_proofs import send
from tests.rollout.test_station import keys, label_of, put, sharing, sitting_at, station
from tests.sizes import sample
from tests.tokens.person import Person

People = Callable[[int], list[str]]
COLUMNS = "user,kind,action,delivery,address"
HOW = "phone call"


@pytest.fixture(scope="session", autouse=True)
def _readers_end() -> Iterator[None]:
    with pcsc.stopped():
        yield


@pytest.fixture(autouse=True)
def _no_key_is_in() -> None:
    pcsc.plug()


@pytest.fixture
def aws(at_lab: Lab) -> Aws:
    return Aws(at_lab, (at_lab.admin.access_key_id, at_lab.admin.secret_access_key, None))


def name_of(user: str) -> str:
    return f"{user}-key"


def serial_of(user: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:mfa/{name_of(user)}"


def stage(rollout: Rollout, *acts: Any, codes: Iterable[str] = (), more: tuple[str | Path, ...] = ()) -> Result:
    return station(rollout, *acts, codes=codes, more=("--stage", "-r", rollout.recipient, *more))


def post(rollout: Rollout, *more: str | Path) -> Result:
    return rollout.desk.run("rollout", "post", rollout.file, *more)


def states(rollout: Rollout) -> dict[str, str]:
    rows = json.loads(post(rollout, "--output", "json").out)["rows"]
    return {row["user"]: row["state"] for row in rows}


def status_text(rollout: Rollout) -> str:
    return rollout.desk.run("rollout", "status", rollout.file, "--output", "table").out


def status(rollout: Rollout) -> dict[str, tuple[str, str]]:
    rows = json.loads(rollout.desk.run("rollout", "status", rollout.file, "--output", "json").out)["rows"]
    return {row["user"]: (row["outcome"], row["reason"]) for row in rows}


def waiting_for(rollout: Rollout) -> dict[str, str]:
    rows = json.loads(rollout.desk.run("rollout", "remind", rollout.file, "--output", "json").out)["rows"]
    return {row["user"]: row["waiting_for"] for row in rows}


def table(letters: Path) -> list[dict[str, str]]:
    return [*csv.DictReader((letters / "handover.csv").read_text().splitlines())]


def proofs(rollout: Rollout, *users: str) -> Path:
    """Write the file of codes that the users read from their keys two days ago, with Debian's oathtool."""
    read = datetime.now(UTC).timestamp() - 2 * 24 * 3600
    lines = []
    for user in users:
        secret = rollout.lab.seed(serial_of(user)).hex()
        codes = [
            subprocess.run(
                ["oathtool", "--totp", "-N", f"@{int(when)}", secret], check=True, capture_output=True, text=True
            ).stdout.strip()
            for when in (read - 30, read)
        ]
        lines.append(f"{user},{','.join(codes)},{datetime.fromtimestamp(read, UTC).isoformat(timespec='seconds')}")
    return send(rollout, *lines)


def activate(rollout: Rollout, *more: str | Path) -> Result:
    return rollout.desk.run("rollout", "activate", "-i", key_file(rollout.identity, rollout.folder), *more)


def test_a_key_by_post_is_enabled_only_after_it_arrived(rollout: Rollout, people: People, aws: Aws, lab: Lab) -> None:
    """From the roster to the enabled device. Before the arrival, right codes are refused."""
    alice, bob = people(2)
    phones = [aws.enrolled(user) for user in (alice, bob)]
    (one,) = keys(1001)
    rollout.plan(f"{alice},oath,add,post,1 Main St", f"{bob},oath,add,desk,", columns=COLUMNS)
    done = stage(rollout, put(one))
    assert done.code == 0, done.err
    assert lab.assigned(serial_of(alice)) is None
    assert {label: held.key for label, held in one.credentials.items()} == {
        label_of(name_of(alice)): lab.seed(serial_of(alice))
    }
    assert one.password
    assert states(rollout) == {alice: "prepared"}
    assert status(rollout)[alice] == ("staged", "prepared; waits until the user confirms that it has arrived")
    assert waiting_for(rollout) == {alice: "arrival"}

    letters = rollout.folder / "letters"
    assert post(rollout, "--letters", letters, "--shipping", rollout.folder / "roster.csv").code == 0
    (row,) = table(letters)
    assert (row["user"], row["key"], row["address"]) == (alice, "1001", "1 Main St")
    letter = Path(row["letter"]).with_name("letter.txt").read_text()
    assert "Number of the key:" in letter
    assert label_of(name_of(alice)).decode() in letter

    early = activate(rollout, "--proofs", proofs(rollout, alice))
    assert (early.code, lab.assigned(serial_of(alice))) == (6, None)
    assert "its arrival is not confirmed (it is prepared)" in early.out + early.err
    assert activate(rollout).code == 6
    assert lab.assigned(serial_of(alice)) is None
    assert post(rollout, "--arrived", alice, "--how", HOW).code == 0
    assert status(rollout)[alice] == ("staged", "arrived; waits for two codes of the user")
    assert waiting_for(rollout) == {alice: "proof"}
    done = activate(rollout, "--proofs", proofs(rollout, alice))
    assert done.code == 0, done.err
    assert [lab.assigned(serial) for serial in (*phones, serial_of(alice))] == [alice, bob, alice]
    assert states(rollout) == {alice: "proven"}
    assert status(rollout)[alice] == ("enrolled", "proven by codes by activate")
    assert waiting_for(rollout) == {}


def identity(rollout: Rollout) -> tuple[str, Path]:
    return "-i", key_file(rollout.identity, rollout.folder)


def confirmed(rollout: Rollout, *more: str | Path) -> Result:
    """Run `rollout post`, and type yes if it asks whether to write secrets."""
    with mock.patch.object(terminal, "find_person", return_value=Person()):
        return post(rollout, *more)


def printed(path: Path) -> str:
    """Return the text of a letter, without the spaces between groups of characters."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return open_pdf(path).replace(" ", "")


def open_pdf(path: Path) -> str:
    return subprocess.run(["pdftotext", "-layout", path, "-"], check=True, capture_output=True, text=True).stdout


def passwords(rollout: Rollout) -> list[str]:
    """Return the encrypted passwords, which only the identity opens."""
    files = sorted((rollout.results / "secrets").iterdir())
    return [pyrage.decrypt(file.read_bytes(), [rollout.identity]).decode().split("\n")[0] for file in files]


def test_passwords_are_printed_after_the_arrival_only(rollout: Rollout, people: People) -> None:
    """Each row that has not arrived is refused. The letter has the password of this key, and no other file has it."""
    alice, bob = people(2)
    rollout.plan(f"{alice},oath,add,post,", f"{bob},oath,add,post,", columns=COLUMNS)
    assert stage(rollout, *map(put, keys(1001, 1002))).code == 0
    assert post(rollout, "--arrived", bob, "--how", HOW).code == 0
    folder = rollout.folder / "second"
    done = confirmed(rollout, "--secrets", folder, *identity(rollout))
    assert done.code == 1
    assert f"{alice}/{name_of(alice)}: no second letter: the key is prepared, not arrived" in done.err
    assert [path.name for path in folder.iterdir()] == [f"{bob}-{name_of(bob)}.pdf"]
    first, second = passwords(rollout)
    text = printed(folder / f"{bob}-{name_of(bob)}.pdf")
    assert (second in text, first in text, second in done.out + done.err) == (True, False, False)
    words = " ".join(open_pdf(folder / f"{bob}-{name_of(bob)}.pdf").split())
    assert "The check word at the right is not part of it" in words
    assert "Read two codes, and send them as the letter in the parcel says" in words
    assert "browser" not in words
    again = confirmed(rollout, "--secrets", folder, *identity(rollout), "--only", bob)
    assert (again.code, "already exists, maybe for a key that was lost; delete it" in again.err) == (1, True)
    letters = rollout.folder / "letters"
    assert post(rollout, "--letters", letters).code == 1
    assert [row["user"] for row in table(letters)] == [alice]
    both = confirmed(rollout, "--secrets", letters, *identity(rollout))
    assert (both.code, "is a folder of the letters without secrets" in both.err) == (2, True)
    files = [path for place in (rollout.folder, rollout.desk.home) for path in place.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files for word in (first, second) if word.encode() in path.read_bytes()]


def test_a_lost_key_is_removed_and_can_be_prepared_again(rollout: Rollout, people: People, aws: Aws, lab: Lab) -> None:
    """Its device goes, without the key. An arrival or codes of the lost key mean nothing for the next one."""
    (alice,) = people(1)
    phone = aws.enrolled(alice)
    one, two = keys(1001, 1002)
    rollout.plan(f"{alice},oath,replace,post,", columns=COLUMNS)
    assert stage(rollout, put(one)).code == 0
    assert post(rollout, "--arrived", alice, "--how", HOW).code == 0
    old = proofs(rollout, alice)
    pcsc.plug()
    assert post(rollout, "--lost", alice).code == 0
    assert serial_of(alice) not in lab.serials()
    assert status(rollout)[alice][1].startswith("lost; to prepare another one")
    assert f"lost; to prepare another one: mfa-kit rollout station {rollout.file} --stage" in status_text(rollout)
    assert (states(rollout), lab.assigned(phone)) == ({alice: "lost"}, alice)
    refused = post(rollout, "--arrived", alice, "--how", HOW)
    assert (refused.code, "so it cannot have arrived" in refused.err) == (1, True)
    assert stage(rollout, put(two)).code == 0
    assert states(rollout) == {alice: "prepared"}
    assert activate(rollout, "--proofs", old).code == 6
    assert post(rollout, "--arrived", alice, "--how", HOW).code == 0
    assert activate(rollout, "--proofs", old).code == 6
    assert (lab.assigned(serial_of(alice)), lab.assigned(phone)) == (None, alice)
    assert activate(rollout, "--proofs", proofs(rollout, alice)).code == 0
    refused = post(rollout, "--lost", alice)
    assert (refused.code, "is enabled already" in refused.err) == (1, True)
    assert lab.assigned(serial_of(alice)) == alice


def test_a_proof_without_an_end_in_the_journal_is_continued(rollout: Rollout, people: People) -> None:
    """An `activate` that was killed has recorded the proof, but not that the device is enabled."""
    (alice,) = people(1)
    (one,) = keys(1001)
    rollout.plan(f"{alice},oath,add,post,", columns=COLUMNS)
    assert stage(rollout, put(one)).code == 0
    assert post(rollout, "--arrived", alice, "--how", HOW).code == 0
    sent = proofs(rollout, alice)
    assert activate(rollout, "--proofs", sent).code == 0
    with sqlite_ledger(rollout.desk.home) as ledger:
        [entry] = ledger.made(ACCOUNT)
        ledger.record(entry.at(JournalState.STAGED))
    done = activate(rollout, "--proofs", sent)
    assert done.code == 0, done.err
    with sqlite_ledger(rollout.desk.home) as ledger:
        assert [entry.reached for entry in ledger.made(ACCOUNT)] == [JournalState.CONFIRMED]


def test_a_user_whose_key_was_lost_is_not_enrolled(rollout: Rollout, people: People) -> None:
    """Although an earlier run enrolled the user's phone."""
    (alice,) = people(1)
    (one,) = keys(1001)
    rollout.plan(f"{alice},{rollout.recipient}")
    assert rollout.apply().code == 0
    rollout.plan(f"{alice},oath,add,post,", columns=COLUMNS)
    assert stage(rollout, put(one)).code == 0
    sent = proofs(rollout, alice)
    assert post(rollout, "--lost", alice).code == 0
    done = activate(rollout, "--proofs", sent)
    assert (done.code, "the key that was sent to this user is recorded as lost" in done.err) == (1, True), done.err


def test_a_device_that_is_enabled_meanwhile_is_not_lost(
    rollout: Rollout, people: People, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process enables it while `post --lost` waits for the lock of its run."""
    (alice,) = people(1)
    (one,) = keys(1001)
    rollout.plan(f"{alice},oath,add,post,", columns=COLUMNS)
    assert stage(rollout, put(one)).code == 0
    assert post(rollout, "--arrived", alice, "--how", HOW).code == 0
    real, words = execution.take_over_runs, ("-i", key_file(rollout.identity, rollout.folder))

    def wait(*args: Any, **how: Any) -> None:
        process = rollout.desk.fork("rollout", "activate", *words, "--proofs", proofs(rollout, alice))
        assert (process.communicate(timeout=60), process.returncode)[1] == 0
        real(*args, **how)

    monkeypatch.setattr(posting, "take_over_runs", wait)
    refused = post(rollout, "--lost", alice)
    assert (refused.code, "is enabled already" in refused.err) == (1, True)
    assert lab.assigned(serial_of(alice)) == alice


def test_no_key_is_sent_without_a_password(tmp_path: Path) -> None:
    """A key that cannot be found does not count as a token, which has none."""
    spec = DeviceSpec(account=ACCOUNT, partition="aws", user="alice", name="alice-key", method=Method("oath"))
    entry = JournalEntry(run="20261130T120000Z-0123abcd", spec=spec.on(hardware="1001", card="card-1"))
    with pytest.raises(DeviceFault, match="1001 is not found"):
        PasswordFiles(tmp_path / "secrets").lock_key(mock.Mock(seen=lambda _: None), entry)
    assert [*tmp_path.iterdir()] == []


def test_the_record_has_the_states_if_the_ledger_is_lost(rollout: Rollout, people: People, lab: Lab) -> None:
    """Also of a key that is not prepared completely: it is made again, and never enabled."""
    alice, bob = people(2)
    one, two = keys(1001, 1002)
    rollout.plan(f"{alice},oath,add,post,", f"{bob},oath,add,post,", columns=COLUMNS)
    assert stage(rollout, put(one), put(two)).code == 0
    assert post(rollout, "--arrived", alice, "--how", HOW).code == 0
    rollout.lose_ledger()
    assert states(rollout) == {alice: "arrived", bob: "prepared"}
    assert activate(rollout, "--record", rollout.results, "--proofs", proofs(rollout, alice, bob)).code == 6
    assert [lab.assigned(serial_of(user)) for user in (alice, bob)] == [alice, None]


def test_a_half_prepared_key_is_half_made_for_the_record_too(rollout: Rollout, people: People, lab: Lab) -> None:
    """The ledger is lost, and the record has no line that the key was prepared: nobody may get its device."""
    (alice,) = people(1)
    one, two = keys(1001, 1002)
    rollout.plan(f"{alice},oath,add,post,", columns=COLUMNS)
    assert stage(rollout, put(one)).code == 0
    (record,) = rollout.results.glob("record-*.jsonl")
    record.write_text("".join(line for line in record.read_text().splitlines(True) if '"state"' not in line))
    rollout.lose_ledger()
    assert states(rollout) == {alice: "not prepared"}
    done = activate(rollout, "--record", rollout.results, "--proofs", proofs(rollout, alice))
    assert (done.code, lab.assigned(serial_of(alice))) == (1, None)
    done = stage(rollout, put(two))
    assert done.code == 0, done.err
    assert states(rollout) == {alice: "prepared"}
    assert two.password


def test_the_station_says_where_a_password_is(rollout: Rollout, people: People) -> None:
    """A key that was prepared asks for the password that the station has set."""
    (alice,) = people(1)
    (one,) = keys(1001)
    rollout.plan(f"{alice},oath,add,post,", columns=COLUMNS)
    assert stage(rollout, put(one)).code == 0
    assert post(rollout, "--lost", alice).code == 0
    pcsc.plug()
    one.credentials.clear()
    done = stage(rollout, put(one), codes=passwords(rollout))
    assert done.code == 0, done.err
    assert f"in {rollout.results / 'secrets'}: age -d -i IDENTITY FILE" in done.err, done.err


def test_a_prepared_key_is_given_to_no_one_else(rollout: Rollout, people: People, lab: Lab) -> None:
    """Although its device is assigned to nobody yet."""
    alice, bob = people(2)
    one, two = keys(1001, 1002)
    rollout.plan(f"{alice},oath,add,post,", f"{bob},oath,add,desk,", columns=COLUMNS)
    assert stage(rollout, put(one)).code == 0
    one.password = None
    one.credentials.clear()
    done = station(rollout, put(one), put(two))
    assert (done.code, f"1001 is already in use: it belongs to {alice}" in done.err) == (0, True)
    assert lab.assigned(serial_of(bob)) == bob
    assert one.credentials == {}


@pytest.mark.parametrize("known_by", ["record", "tags", "credential"])
def test_a_prepared_key_is_known_without_the_ledger(rollout: Rollout, people: People, lab: Lab, known_by: str) -> None:
    """By the record, by the tags of the plan's devices, or else by its credential, which its password unlocks."""
    alice, bob = people(2)
    one, two = keys(1001, 1002)
    rows = [f"{alice},oath,add,post,", f"{bob},oath,add,desk,"]
    rollout.plan(*rows, columns=COLUMNS)
    assert stage(rollout, put(one)).code == 0
    (password,) = passwords(rollout)
    rollout.lose_ledger()
    if known_by != "record":
        for record in rollout.results.glob("record-*.jsonl"):
            record.unlink()
    if known_by == "credential":
        rollout.plan(rows[1], columns=COLUMNS)
    done = station(rollout, put(one), put(two), codes=[password] if known_by == "credential" else [])
    assert done.code == 0, done.err
    assert "1001 is already in use: it " in done.err
    assert (f"contains AWS:{name_of(alice)}@" if known_by == "credential" else f"belongs to {alice}") in done.err
    assert [*one.credentials] == [label_of(name_of(alice))]
    assert [lab.assigned(serial_of(user)) for user in (alice, bob)] == [None, bob]


def test_an_interrupted_loss_is_settled_by_the_same_command(
    rollout: Rollout, people: People, lab: Lab, at_lab: Lab
) -> None:
    """Each call to IAM fails once, in each way. In the end the device is gone, and the key counts as lost."""
    users = people(4)
    cards = keys(*range(1001, 1005))
    rollout.plan(*[f"{user},oath,add,post," for user in users], columns=COLUMNS)
    assert stage(rollout, *map(put, cards)).code == 0
    for user, fault in zip(users, ("denied", "lost-after", "error-before", "lost-before"), strict=True):
        at_lab.faults.add("DeleteVirtualMFADevice", fault)
        post(rollout, "--lost", user)
        at_lab.faults.clear()
        post(rollout, "--lost", user)
        assert serial_of(user) not in lab.serials(), fault
        assert states(rollout)[user] == "lost"
    assert post(rollout, "--letters", rollout.folder / "letters").code == 1
    assert not (rollout.folder / "letters").exists()


def test_the_plan_refuses_keys_that_their_users_could_not_register(rollout: Rollout, people: People, aws: Aws) -> None:
    """A FIDO key by post needs a device that stays, to sign in with. Nothing else is prepared for these kinds."""
    alice, bob, carol, dave = people(4)
    for user in (alice, bob, dave):
        aws.enrolled(user)
    rollout.plan(
        f"{alice},fido2,add,post,",
        f"{bob},pair,replace,post,",
        f"{carol},fido2,,post,",
        f"{dave},pair,add,post,",
        columns=COLUMNS,
    )
    rows = json.loads(rollout.file.read_text())["rows"]
    assert [(row["user"], row["kind"], row["action"]) for row in rows] == [
        (alice, "fido2", "self"),
        (bob, "oath", "bench"),
        (bob, "fido2", "blocked"),
        (carol, "fido2", "blocked"),
        (dave, "oath", "bench"),
        (dave, "fido2", "self"),
    ]
    assert rows[2]["reason"].startswith("the FIDO half of the pair is not possible, and the old device stays: ")
    assert "this user has no other device that stays" in rows[2]["reason"]
    done = rollout.desk.run(
        "rollout", "plan", rollout.folder / "roster.csv", "-o", rollout.folder / "other.json", "--output", "json"
    )
    [change] = [change for change in json.loads(done.out)["users"] if change["user"] == bob]
    assert change["after"] == [bob, name_of(bob)]
    rows_of_kinds = [f"{alice},{kind},,post,," for kind in ("virtual", "self")] + [
        f"{alice},hardware-totp,,post,,GAHT1"
    ]
    done = rollout.desk.run("rollout", "plan", rollout.roster(*rows_of_kinds, columns=f"{COLUMNS},serial"), "-o", "x")
    assert done.err.count("nothing is prepared to be sent by post; write desk") == 3, done.err


def test_a_registered_key_is_done_whatever_its_name_is(rollout: Rollout, people: People, aws: Aws, lab: Lab) -> None:
    """The letter of a pair says how to register the FIDO half, and IAM shows when the user has done so."""
    (alice,) = people(1)
    aws.enrolled(alice)
    before = lab.register_fido(alice, "old-key")
    rollout.plan(f"{alice},pair,add,post,", columns=COLUMNS)
    assert stage(rollout, put(keys(1001)[0])).code == 0
    letters = rollout.folder / "letters"
    assert post(rollout, "--letters", letters).code == 0
    text = (letters / f"{alice}-{name_of(alice)}" / "letter.txt").read_text()
    assert "Register the key for the console" in text
    assert f"{name_of(alice)}-2" in text

    def fido() -> str:
        rows = json.loads(rollout.desk.run("rollout", "status", rollout.file, "--output", "json").out)["rows"]
        outcome: str = next(row["outcome"] for row in rows if row["name"] == f"{name_of(alice)}-2")
        return outcome

    assert (fido(), before) == ("waiting", before)
    lab.register_fido(alice, "my-key")
    assert fido() == "enrolled"


def test_a_key_that_its_user_registers_has_states_too(rollout: Rollout, people: People, aws: Aws, lab: Lab) -> None:
    """Nothing is staged for it, so nothing is enabled by an arrival, and there is no second letter."""
    (alice,) = people(1)
    aws.enrolled(alice)
    rollout.plan(f"{alice},fido2,add,post,", columns=COLUMNS)
    assert states(rollout) == {alice: "nothing to prepare"}
    letters = rollout.folder / "letters"
    assert post(rollout, "--letters", letters).code == 0
    text = " ".join((letters / f"{alice}-{name_of(alice)}" / "letter.txt").read_text().split())
    assert ("the number is another one" in text, "is enabled" in text) == (False, False)
    assert "AWS does not ask you for this key before you register it" in text
    done = post(rollout, "--arrived", alice, "--how", HOW)
    assert (done.code, states(rollout)) == (0, {alice: "arrived"}), done.err
    done = confirmed(rollout, "--secrets", rollout.folder / "second", *identity(rollout))
    assert (done.code, "no second letter" in done.err) == (0, False), done.err
    assert post(rollout, "--lost", alice).code == 0
    assert states(rollout) == {alice: "lost"}
    lab.register_fido(alice, "my-key")
    assert states(rollout) == {alice: "enabled already"}
    assert post(rollout, "--lost", alice).code == 1


def test_each_parcel_has_the_two_halves_of_one_pair() -> None:
    """The OATH half of the user's second pair is enabled already, but not yet registered as a security key."""
    [pair] = [method for method in METHODS.in_rosters() if method.halves]
    rows = expand_rows([RosterRow(user="alice", kind=pair, action=RosterAction.ADD, by_post=True)] * 2)
    actions = (Action.STATION, Action.SELF, Action.SKIP, Action.SELF)
    steps = [PlanStep(row=row, action=action) for row, action in zip(rows, actions, strict=True)]
    plan = Plan(account=ACCOUNT, partition="aws", by="", planned_at=0.0, steps=steps)
    parcels = posting.parcels_of_plan(plan, {}, {}, lambda _: ())
    assert [(parcel.step, parcel.registered) for parcel in parcels] == [(steps[0], steps[1]), (steps[3], steps[3])]


def test_options_that_do_not_fit_are_refused(rollout: Rollout, people: People) -> None:
    """One sentence for each."""
    (alice,) = people(1)
    rollout.plan(f"{alice},oath,add,post,", columns=COLUMNS)
    for more, said in (
        (("--arrived", alice), "--arrived needs the channel by which the user confirmed it"),
        (("--arrived", alice, "--how", " "), "--arrived needs the channel"),
        (("--how", HOW), "--how is only for --arrived"),
        (("--arrived", ",", "--how", HOW), "it names no user"),
        (("--secrets", "x"), "--secrets needs the identity"),
        (("-i", "x"), "-i is only for --secrets"),
        (("--lost", alice, "--letters", "x"), "use one of them"),
        (("--lost", "nobody"), "the plan has no key by post for nobody"),
        (("--arrived", f"{alice},nobody", "--how", HOW), "the plan has no key by post for nobody"),
    ):
        done = post(rollout, *more)
        assert (done.code, said in done.err) == (2, True), done.err
    done = station(rollout, more=("--stage",))
    assert (done.code, "its password must be encrypted" in done.err) == (2, True)


def test_each_command_says_what_is_next(rollout: Rollout, people: People, aws: Aws) -> None:
    """From the plan of keys by post, together with keys at the desk, to the end."""
    alice, bob = people(2)
    for user in (alice, bob):
        aws.enrolled(user)
    roster = rollout.roster(f"{alice},oath,replace,post,", f"{bob},oath,add,desk,", columns=COLUMNS)
    done = rollout.desk.run("rollout", "plan", roster, "-o", rollout.file)
    to_stage, to_post = f"rollout station {rollout.file} --stage", f"rollout post {rollout.file}"
    assert to_stage in done.err, done.err
    done = rollout.desk.run("rollout", "status", rollout.file)
    assert f"next: enroll the other users in person: mfa-kit rollout station {rollout.file}; " in done.err
    assert to_stage in done.err, done.err
    assert f"next: prepare the keys: mfa-kit {to_stage}" in post(rollout).err
    done = stage(rollout, put(keys(1001)[0]))
    assert f"next: see what to do with the keys by post: mfa-kit {to_post}" in done.err, done.err
    assert f"mfa-kit {to_post}" in rollout.desk.run("rollout", "status", rollout.file).err
    assert f"next: write the letters for the parcels: mfa-kit {to_post} --letters DIR" in post(rollout).err
    letters = rollout.folder / "letters"
    done = post(rollout, "--letters", letters)
    assert f"1 letter written to {letters}" in done.err
    assert f"mfa-kit {to_post} --arrived USER --how CHANNEL" in done.err
    done = post(rollout, "--arrived", alice, "--how", HOW)
    assert f"next: write the second letters: mfa-kit {to_post} --secrets DIR -i IDENTITY" in done.err, done.err
    done = confirmed(rollout, "--secrets", rollout.folder / "second", *identity(rollout))
    assert "next: when users have sent two codes: mfa-kit rollout activate --proofs FILE -i IDENTITY" in done.err
    assert activate(rollout, "--proofs", proofs(rollout, alice)).code == 0
    assert f"next: remove the old devices: mfa-kit rollout finish {rollout.file}" in post(rollout).err


def test_several_arrivals_are_recorded_at_once(rollout: Rollout, people: People) -> None:
    """The option takes commas, and can be repeated."""
    alice, bob, carol = people(3)
    rollout.plan(*[f"{user},oath,add,post," for user in (alice, bob, carol)], columns=COLUMNS)
    assert stage(rollout, *map(put, keys(1001, 1002, 1003))).code == 0
    done = post(rollout, "--arrived", f"{alice}, {bob}", "--arrived", carol, "--how", HOW)
    assert (done.code, states(rollout)) == (0, dict.fromkeys((alice, bob, carol), "arrived")), done.err


def test_columns_that_may_have_secrets_are_left_out(rollout: Rollout, people: People) -> None:
    """The console's file of new users has passwords, and another column a private key."""
    (alice,) = people(1)
    rollout.plan(f"{alice},oath,add,post,1 Main St", columns=COLUMNS)
    assert stage(rollout, put(keys(1001)[0])).code == 0
    roster = rollout.folder / "addresses.csv"
    roster.write_text(
        "User name,Password,Secret access key,PIN,Note,Post code,street,initial pin,API-Key,authToken,device\n"
        f'{alice},hunter2,abc,1234,AGE-SECRET-KEY-1X,01099,"Weg 1\nHof",5678,sk9,t0k,laptop\n'
    )
    letters = rollout.folder / "letters"
    done = post(rollout, "--letters", letters, "--shipping", roster)
    assert done.code == 0, done.err
    (row,) = table(letters)
    assert (row["post code"], row["street"], row.get("note", "")) == ("01099", "Weg 1, Hof", "")
    assert (row["device"], row["device (roster)"]) == (serial_of(alice), "laptop")
    assert "not read: Password, Secret access key, PIN, initial pin, API-Key, authToken" in done.err
    assert not {"hunter2", "abc", "1234", "AGE-SECRET-KEY-1X", "5678", "sk9", "t0k"} & {*row.values()}


def test_a_handover_has_the_columns_of_the_roster_too(rollout: Rollout, people: People) -> None:
    """For phones, whose letters and files may be sent by post."""
    (alice,) = people(1)
    roster = rollout.roster(f"{alice},{rollout.recipient},Weg 1,hunter2", columns="user,recipient,street,password")
    assert rollout.desk.run("rollout", "plan", roster, "-o", rollout.file).code == 0
    assert rollout.apply().code == 0
    letters = rollout.folder / "letters"
    done = rollout.desk.run("rollout", "handover", rollout.file, "-o", letters, "--shipping", roster)
    assert (done.code, "not read: password" in done.err) == (0, True), done.err
    (row,) = table(letters)
    assert (row["user"], row["street"], row["key"]) == (alice, "Weg 1", "")
    assert "hunter2" not in (letters / "handover.csv").read_text()


def test_a_token_by_post_is_programmed_at_the_station(rollout: Rollout, people: People, lab: Lab) -> None:
    """Its codes are checked there, and nobody else gets it. It has no password, so there is no second letter."""
    alice, bob = people(2)
    rollout.plan(f"{alice},programmable,add,post,,TOKEN12345", columns=f"{COLUMNS},serial")

    def read() -> Iterator[str]:
        display = Display(base64.b32encode(lab.seed(serial_of(alice))).decode())
        yield from (display.shows(lab.account.now() - wait) for wait in (30, 0))

    done = stage(rollout, "", codes=read(), more=("--capacity", "64"))
    assert done.code == 0, done.err
    assert (states(rollout), lab.assigned(serial_of(alice))) == ({alice: "prepared"}, None)
    letters = rollout.folder / "letters"
    assert post(rollout, "--letters", letters).code == 0
    text = (letters / f"{alice}-{name_of(alice)}" / "letter.txt").read_text()
    assert ("Switch the token on" in text, "password" in text) == (True, False)
    assert table(letters)[0]["key"] == "TOKEN12345"
    rollout.plan(f"{bob},programmable,add,desk,,TOKEN12345", columns=f"{COLUMNS},serial")
    done = station(rollout, "", "q", more=("--capacity", "64"))
    assert (done.code, f"token TOKEN12345 belongs to {alice}" in done.err) == (1, True), done.err
    rollout.plan(f"{alice},programmable,add,post,,TOKEN12345", columns=f"{COLUMNS},serial")
    assert post(rollout, "--arrived", alice, "--how", HOW).code == 0
    done = confirmed(rollout, "--secrets", rollout.folder / "second", *identity(rollout))
    assert (done.code, "a token has no password" in done.err) == (1, True)
    assert activate(rollout, "--proofs", proofs(rollout, alice)).code == 0
    assert lab.assigned(serial_of(alice)) == alice


def test_two_stations_prepare_one_key_for_each_user(
    rollout: Rollout, people: People, lab: Lab, tmp_path: Path, postgresql: Server
) -> None:
    """Both ask for the key of the first user. The second one to get it changes no key, and goes on to the next user."""
    users, cards = people(2), keys(1001, 1002, 1003)
    with sharing(postgresql):
        rollout.plan(*[f"{user},oath,add,post," for user in users], columns=COLUMNS)

        def meanwhile() -> None:
            with sitting_at(tmp_path / "other"):
                more = ("--local-backups", "--only", users[0], "--results", tmp_path / "other-results")
                assert stage(rollout, put(cards[0]), more=more).code == 0

        done = stage(rollout, put(cards[1], first=meanwhile), "s", put(cards[2]), "", more=("--local-backups",))
        assert "already exists" in done.err, done.err
        assert states(rollout) == dict.fromkeys(users, "prepared")
    assert [bool(card.credentials) for card in cards] == [True, False, True]
    assert [lab.assigned(serial_of(user)) for user in users] == [None, None]


def test_a_key_by_post_gets_one_device(rollout: Rollout, people: People) -> None:
    """Its one password is in one letter. The second row of the same user needs another key."""
    (alice,) = people(1)
    one, two = keys(1001, 1002)
    rollout.plan(*[f"{alice},oath,add,post,"] * 2, columns=COLUMNS)
    done = stage(rollout, put(one), put(one), put(two))
    assert (done.code, f"1001 is already in use: it belongs to {alice}" in done.err) == (0, True), done.err
    assert [[*card.credentials] for card in (one, two)] == [
        [label_of(name_of(alice))],
        [label_of(f"{name_of(alice)}-2")],
    ]


VERBS = ("stage", "letters", "arrived", "lost", "activate")
FAULTS = ("throttle", "error-before", "error-after", "lost-before", "lost-after", "denied")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("verb", "fault"), sample([*product(VERBS, FAULTS)], 8))
def test_a_fault_at_any_call_is_repaired_by_the_same_command(
    verb: str, fault: str, rollout: Rollout, people: People, aws: Aws, at_lab: Lab
) -> None:
    """The phone stays, nothing is enabled before its arrival, and the last state is that of the command."""
    serials = count(1001)

    def run(user: str) -> Result:
        match verb:
            case "stage":
                words = ("--stage", "--no-touch", "-r", rollout.recipient)
                with mock.patch.object(terminal, "find_person", return_value=AtStation("", "q")):
                    return rollout.desk.run("rollout", "station", rollout.file, *words)
            case "letters":
                return post(rollout, "--letters", rollout.folder / user)
            case "arrived":
                return post(rollout, "--arrived", user, "--how", HOW)
            case "lost":
                return post(rollout, "--lost", user)
            case _:
                return activate(rollout, "--proofs", proofs(rollout, user))

    def begin() -> tuple[str, str]:
        (user,) = people(1)
        phone = aws.enrolled(user)
        rollout.plan(f"{user},oath,replace,post,", columns=COLUMNS)
        pcsc.plug()
        pcsc.plug(*keys(next(serials)))
        if verb != "stage":
            assert stage(rollout, "").code == 0
        if verb == "activate":
            assert post(rollout, "--arrived", user, "--how", HOW).code == 0
        return user, phone

    user, _ = begin()
    seen = len(at_lab.calls)
    run(user)
    number = len(at_lab.calls) - seen
    for at in sample(range(1, number + 1), 2):
        user, phone = begin()
        at_lab.faults.add("*", fault, at=at)
        run(user)
        at_lab.faults.clear()
        assert at_lab.assigned(phone) == user
        assert verb == "activate" or serial_of(user) not in at_lab.serials() or not at_lab.assigned(serial_of(user))
        run(user)
        after = {"stage": "prepared", "letters": "prepared", "activate": "proven"}.get(verb, verb)
        assert (states(rollout)[user], at_lab.assigned(phone)) == (after, user), (at, fault)


def test_an_undo_does_not_need_the_keys_that_were_sent(rollout: Rollout, people: People, aws: Aws, lab: Lab) -> None:
    """Only their devices go, and the phones stay."""
    (alice,) = people(1)
    phone = aws.enrolled(alice)
    rollout.plan(f"{alice},oath,add,post,", columns=COLUMNS)
    assert stage(rollout, put(keys(1001)[0])).code == 0
    pcsc.plug()
    done = rollout.desk.run("rollout", "undo", rollout.file, "--yes")
    assert done.code == 0, done.err
    assert (serial_of(alice) in lab.serials(), lab.assigned(phone)) == (False, alice)
