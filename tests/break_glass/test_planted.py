"""Folders that someone else put beside a break-glass folder: no command trusts one without proof or a person's word."""

import csv
import hmac
import io
import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyrage
import pytest

from mfa_kit.adapters.files.layers import RecoveryIdentity, RecoveryKeyFolders
from mfa_kit.adapters.ledger.audit_records import BreakGlassRecords
from mfa_kit.adapters.ledger.postgresql.grants import grants
from mfa_kit.break_glass.custodians import Custodian, Group, Manifest
from mfa_kit.break_glass.uses import Record
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import Secret
from mfa_kit.core.recovery_keys import RecoveryKeyAction
from mfa_kit.wiring import break_glass
from tests.break_glass.conftest import Desk, Typed
from tests.conftest import ROOT, judge, local
from tests.ledgers import open_at
from tests.postgresql import Server

THREE = ("alice", "bob", "carol")
LATER = "20991231T000000Z-0a1b2c3d"


def confirmed(manifest: Mapping[str, Any], identity: str) -> str:
    """Return the HMAC of a manifest as docs/formats.md describes it, with HMAC alone (RFC 5869, one block)."""
    names = ("recipient", "replaces", "threshold", "custodians", "former")
    text = json.dumps({name: manifest[name] for name in names}, sort_keys=True, separators=(",", ":"))
    extracted = hmac.digest(bytes(32), identity.encode(), "sha256")
    key = hmac.digest(extracted, b"mfa-kit/break-glass/rotation/1\x01", "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def plant(row: Mapping[str, Any], *, name: str = LATER, leaked: str | None = None, **more: Any) -> Path:
    """Put a folder of the attacker's identity beside a folder, as its rotation would look. Return the new folder.

    The attacker needs only a copy of the folder, and Debian's age. With `leaked`, they also know its identity.
    """
    own = pyrage.x25519.Identity.generate()
    manifest = json.loads(Path(row["folder"], "manifest.json").read_text())
    made = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    changed = {"made": made, "recipient": str(own.to_public()), "replaces": manifest["recipient"], **more}
    manifest = {**manifest, **changed}
    if leaked:
        manifest |= {"version": 2, "hmac": confirmed(manifest, leaked)}
    folder = Path(row["folder"]).with_name(name)
    folder.mkdir(mode=0o700)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    keys = {each["name"]: each["key"] for each in manifest["custodians"]}
    for file in manifest["files"]:
        layers = f"{own}\n".encode()
        for custodian in reversed(file["custodians"]):
            layers = subprocess.run(
                [judge("age"), "-r", keys[custodian]], input=layers, capture_output=True, check=True
            ).stdout
        (folder / file["file"]).write_bytes(layers)
    return folder


def recipient_in(folder: str | Path) -> str:
    return str(json.loads(Path(folder, "manifest.json").read_text())["recipient"])


def test_a_planted_identity_is_not_rotated(desk: Desk) -> None:
    """A new identity would be for the custodians in its manifest, of whom one alone may open it."""
    row = desk.create(2, THREE)
    eve = {"name": "eve", "key": desk.key("eve").public, "fingerprint": desk.key("eve").public}
    manifest = json.loads(Path(row["folder"], "manifest.json").read_text())
    files = [{"file": f"set-0{at}-{who}.age", "custodians": [who]} for at, who in enumerate((*THREE, "eve"), 1)]
    custodians = [*manifest["custodians"], eve]
    plant(row, replaces=None, threshold=1, custodians=custodians, files=files)
    done = desk.run("break-glass", "rotate", *desk.here("alice", "bob"))
    assert (done.code, "this computer did not record who the custodians" in done.err) == (5, True)


@pytest.mark.parametrize("leaked", [False, True])
@pytest.mark.parametrize("start", ["default", "old"])
def test_a_planted_folder_is_not_taken_for_a_rotation(desk: Desk, start: str, leaked: bool) -> None:
    """No backup is encrypted to it, even if the HMAC is right because the old identity leaked."""
    row = desk.create(2, THREE)
    backup = desk.sealed("root", row["recipient"])
    before = local(backup).read_bytes()
    identity = desk.identity(row, "alice", "bob").decode().split()[-1]
    planted = plant(row, leaked=identity if leaked else None)
    words = ["rotate", *desk.here("alice", "bob"), *(["--dir", row["folder"]] if start == "old" else [])]
    refused = desk.run("break-glass", *words)
    assert (refused.code, refused.out, local(backup).read_bytes() == before) == (5, "", True), refused
    told = " ".join(refused.err.split())
    assert f"this computer did not record who the custodians in {planted}/manifest.json are" in told
    assert f"to begin anew, move {planted} elsewhere, and do not delete it" in told
    assert recipient_in(planted) not in told
    assert [record.action for record in desk.records()] == [RecoveryKeyAction.SEALED]
    planted.rename(desk.folder / "elsewhere")
    rotated = desk.break_glass("rotate", *desk.here("alice", "bob"))
    assert desk.recipients()[backup.name] == {rotated["recipient"]} != {recipient_in(desk.folder / "elsewhere")}


def unfinished(desk: Desk) -> tuple[dict[str, Any], dict[str, Any]]:
    """Begin a rotation that cannot end, because a backup is damaged. Return the rows of the old and the new folder."""
    row = desk.create(2, THREE)
    desk.sealed("root", row["recipient"])
    damaged = desk.sealed("damaged", row["recipient"])
    local(damaged).write_bytes(local(damaged).read_bytes()[:-1])
    return row, desk.break_glass("rotate", *desk.here("alice", "bob"), code=5)


def moved_to_another_computer(desk: Desk) -> None:
    """Forget what this computer recorded. The folders and the backups stay."""
    for file in desk.home.glob("ledger.sqlite*"):
        file.unlink()


def finish(desk: Desk) -> None:
    """Remove the damaged backup, so that the rotation can end."""
    [damaged] = desk.home.glob("backups/*/damaged/*")
    damaged.unlink()


def change(folder: str | Path, **values: object) -> None:
    """Change values of a manifest. A value None removes the name, and the text `null` stands for null."""
    file = Path(folder, "manifest.json")
    manifest = {**json.loads(file.read_text()), **values}
    file.write_text(json.dumps({name: value for name, value in manifest.items() if value is not None}))


def test_the_hmac_is_that_of_the_documented_vector() -> None:
    """Computed by mfa-kit with HKDF of `cryptography`, and here with HMAC alone."""
    [page] = re.findall(r"```json\n(\{\n  \"identity\".*?\n\})\n```", (ROOT / "docs/formats.md").read_text(), re.DOTALL)
    vector = json.loads(page)
    covered = json.loads(vector["canonical"])
    custodians = tuple(Custodian(each["name"], each["key"]) for each in covered["custodians"])
    former = tuple(Custodian(each["name"], each["key"]) for each in covered["former"])
    manifest = Manifest(
        recipient=covered["recipient"],
        made=0.0,
        group=Group(covered["threshold"], custodians),
        former=former,
        replaces=covered["replaces"],
    )
    identity = RecoveryIdentity(Secret(pyrage.x25519.Identity.from_str(vector["identity"])))
    assert identity.recipient == covered["replaces"]
    assert manifest.canonical().decode() == vector["canonical"]
    assert identity.hmac_of(manifest) == confirmed(covered, vector["identity"]) == vector["hmac"]


def test_a_rotation_writes_the_hmac_of_the_old_identity(desk: Desk) -> None:
    """Folders of `create` and `custodians` have none."""
    row = desk.create(2, THREE)
    rotated = desk.break_glass("rotate", *desk.here("alice", "bob"))
    written = desk.break_glass("custodians", *desk.here("alice", "bob"), *desk.group(1, ["dave"]))
    first, second, third = (
        json.loads(Path(each["folder"], "manifest.json").read_text()) for each in (row, rotated, written)
    )
    assert [(each["version"], each["replaces"], "hmac" in each) for each in (first, third)] == [(1, None, False)] * 2
    assert (second["version"], second["replaces"]) == (2, row["recipient"])
    assert second["hmac"] == confirmed(second, desk.identity(row, "bob", "carol").decode().split()[-1])


@pytest.mark.parametrize("start", ["old", "new"])
def test_the_same_computer_continues_its_rotation(desk: Desk, start: str) -> None:
    """Other custodians than before may come. No question is asked."""
    row, begun = unfinished(desk)
    finish(desk)
    folder = row["folder"] if start == "old" else begun["folder"]
    rotated = desk.break_glass("rotate", "--dir", folder, *desk.here("bob", "carol"))
    assert (rotated["outcome"], rotated["recipient"], rotated["custodians"]) == (
        "rotated",
        begun["recipient"],
        ["bob", "carol"],
    )


def test_a_rotation_continues_after_the_custodians_of_the_old_identity_changed(desk: Desk) -> None:
    """The new identity still belongs to the group before, so a custodian of that group must come too."""
    row, begun = unfinished(desk)
    finish(desk)
    words = ("custodians", "--dir", row["folder"], *desk.here("alice", "bob"), *desk.group(2, ["alice", "dave"]))
    desk.break_glass(*words)
    assert (
        "must be typed, but there is no terminal"
        in desk.break_glass("rotate", *desk.here("alice", "dave"), code=8)["err"]
    )
    rotated = desk.break_glass("rotate", *desk.here("alice", "dave", "carol"))
    assert (rotated["outcome"], rotated["recipient"]) == ("rotated", begun["recipient"])
    assert json.loads(Path(rotated["folder"], "manifest.json").read_text())["threshold"] == 2


def test_another_computer_continues_a_rotation_if_the_recipient_is_typed(desk: Desk, typed: Typed) -> None:
    """`--yes` does not answer, and a wrong answer changes nothing. It is asked once and shows no recipient."""
    _, begun = unfinished(desk)
    moved_to_another_computer(desk)
    words = ("rotate", *desk.here("alice", "bob"))
    refused = desk.run("break-glass", *words)
    assert (refused.code, "to begin anew, move" in refused.err) == (5, True)
    for more in (["--yes"], ["--no-input"], ["--yes", "--no-input"]):
        done = desk.run("break-glass", *words, "--accept-unrecorded", *more)
        assert (done.code, "the whole recipient must be typed" in done.err) == (8, True), done
    for answer in ("", "yes", begun["recipient"][:-1], begun["replaces"]):
        said = typed(answer)
        done = desk.run("break-glass", *words, "--accept-unrecorded", "--yes")
        assert (done.code, f"that is not the recipient of {begun['folder']}" in " ".join(done.err.split())) == (5, True)
        assert begun["recipient"] not in "\n".join([*said, refused.err, done.err, done.out])
    assert desk.records() == []
    said = typed(begun["recipient"])
    assert desk.break_glass(*words, "--accept-unrecorded", code=5)["outcome"] == "unfinished"
    told = "\n".join(said)
    assert all(f"{name} {desk.key(name).public}" in told for name in THREE)
    assert ("mfa-kit break-glass status" in told, begun["recipient"] in told) == (True, False)
    [record] = desk.records()
    assert (record.action, record.recipient, record.threshold) == (RecoveryKeyAction.SEALED, begun["recipient"], 2)
    assert record.custodians == {name: desk.key(name).public for name in THREE}
    finish(desk)
    assert desk.break_glass(*words)["outcome"] == "rotated"


@pytest.mark.parametrize("name", ["recipient", "threshold", "custodians", "former", "hmac"])
def test_a_changed_rotation_is_refused(desk: Desk, typed: Typed, name: str) -> None:
    """The old identity shows the change, also on a computer without records. Nobody can accept it."""
    _, begun = unfinished(desk)
    moved_to_another_computer(desk)
    manifest = json.loads(Path(begun["folder"], "manifest.json").read_text())
    eve = {"name": "eve", "key": desk.key("eve").public, "fingerprint": desk.key("eve").public}
    files = [{"file": f"set-0{at}-{who}.age", "custodians": [who]} for at, who in enumerate(THREE, 1)]
    changes: dict[str, dict[str, Any]] = {
        "recipient": {"recipient": desk.key("eve").public},
        "threshold": {"threshold": 1, "files": files},
        "custodians": {"custodians": [*manifest["custodians"][:2], eve], "files": renamed(manifest["files"])},
        "former": {"former": [eve]},
        "hmac": {"hmac": manifest["hmac"][::-1]},
    }
    change(begun["folder"], **changes[name])
    typed(recipient_in(begun["folder"]))
    done = desk.run("break-glass", "rotate", *desk.here("alice", "bob"), "--accept-unrecorded")
    assert (done.code, f"the HMAC in {begun['folder']}/manifest.json is wrong" in " ".join(done.err.split())) == (
        5,
        True,
    )
    assert desk.records() == []


def renamed(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the list of files with eve instead of carol."""
    text = json.dumps(files).replace("carol", "eve")
    return list(json.loads(text))


def test_a_rotation_of_version_1_is_continued_only_if_it_is_accepted(desk: Desk, typed: Typed) -> None:
    """It has no HMAC, so the record of this computer is not enough."""
    _, begun = unfinished(desk)
    finish(desk)
    change(begun["folder"], version=1, hmac=None)
    words = ("rotate", *desk.here("alice", "bob"))
    done = desk.run("break-glass", *words)
    assert (done.code, "has no HMAC" in done.err) == (5, True)
    typed(begun["recipient"])
    assert desk.break_glass(*words, "--accept-unrecorded")["recipient"] == begun["recipient"]


def test_of_several_folders_the_proven_one_is_continued(desk: Desk) -> None:
    """The others are named."""
    row, begun = unfinished(desk)
    finish(desk)
    planted = plant(row)
    leaked = plant(row, name=LATER[:-1] + "0", leaked=desk.identity(row, "alice", "bob").decode().split()[-1])
    done = desk.run("break-glass", "rotate", *desk.here("alice", "bob"), "--output", "json")
    assert (done.code, json.loads(done.out)["recipient"]) == (0, begun["recipient"])
    told = " ".join(done.err.split())
    assert all(f"{folder} is not used for the rotation" in told for folder in (planted, leaked))


def test_two_proven_folders_are_refused(desk: Desk) -> None:
    """Such as after a new beginning, if the earlier folder comes back."""
    _, begun = unfinished(desk)
    elsewhere = Path(begun["folder"]).rename(desk.folder / "elsewhere")
    again = desk.break_glass("rotate", *desk.here("alice", "bob"), code=5)
    assert again["recipient"] != begun["recipient"]
    elsewhere.rename(begun["folder"])
    done = desk.run("break-glass", "rotate", *desk.here("alice", "bob"))
    assert (done.code, "are both rotations of the same identity" in done.err) == (5, True)


def test_a_use_of_a_planted_folder_does_not_prove_it(desk: Desk, typed: Typed) -> None:
    """`pass`, `drill` and `open` record what they did for any folder."""
    row = desk.create(2, THREE)
    planted = plant(row)
    backup = desk.sealed("dave", recipient_in(planted))
    [file] = planted.glob("set-01-*")
    typed("")
    there = ("--dir", planted)
    assert (
        desk.run("break-glass", "pass", file, *desk.here("alice"), "-o", desk.folder / "set-01.age", *there).code == 0
    )
    assert desk.run("break-glass", "drill", *desk.here("alice", "bob"), *there).code == 0
    desk.run("break-glass", "open", "--backup", str(backup.path), "--codes", *desk.here("alice", "bob"), *there)
    actions = {record.action for record in desk.records() if record.recipient == recipient_in(planted)}
    assert actions == {RecoveryKeyAction.PASSED, RecoveryKeyAction.DRILLED, RecoveryKeyAction.OPENED}
    done = desk.run("break-glass", "rotate", *desk.here("alice", "bob"))
    assert (done.code, "this computer did not record who the custodians" in done.err) == (5, True)


def test_a_new_group_needs_a_recorded_folder(desk: Desk, typed: Typed) -> None:
    """A rotation too, because it takes the custodians of the folder. Once it is accepted, both work."""
    row = desk.create(2, THREE)
    moved_to_another_computer(desk)
    here = desk.here("alice", "bob")
    custodians, rotate = ("custodians", *here, *desk.group(1, ["dave"])), ("rotate", *here)
    for words in (custodians, rotate):
        done = desk.run("break-glass", *words)
        assert (done.code, "this computer did not record who the custodians in" in done.err) == (5, True)
        assert row["recipient"] not in done.err
        assert desk.run("break-glass", *words, "--accept-unrecorded", "--yes").code == 8
        assert desk.run("break-glass", *words, "--accept-unrecorded", "--dry-run").code == 5
    assert desk.records() == []
    typed(row["recipient"])
    written = desk.break_glass(*custodians, "--accept-unrecorded")
    assert (written["recipient"], [record.action for record in desk.records()]) == (
        row["recipient"],
        [RecoveryKeyAction.SEALED] * 2,
    )
    assert desk.break_glass("rotate", *desk.here("dave"))["outcome"] == "rotated"


def test_a_folder_can_be_accepted_if_the_next_one_was_never_written(
    desk: Desk, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full after the new custodians were recorded. Until then, the identity can still be opened."""

    def fail(_self: object, place: Path, _: object) -> None:
        raise IntegrityFault(f"{place} cannot be written", "")

    row = desk.create(2, THREE)
    desk.sealed("root", row["recipient"])
    here = desk.here("alice", "bob")
    with monkeypatch.context() as patch:
        patch.setattr(RecoveryKeyFolders, "write", fail)
        assert desk.run("break-glass", "custodians", *here, *desk.group(1, ["dave"])).code == 5
    drilled = desk.run("break-glass", "drill", *here)
    assert (drilled.code, "so check them yourself" in drilled.err) == (0, True)
    done = desk.run("break-glass", "rotate", *here)
    told = " ".join(done.err.split())
    assert (done.code, "other custodians or another threshold than this computer recorded last" in told) == (5, True)
    typed(row["recipient"])
    assert desk.break_glass("rotate", *here, "--accept-unrecorded")["outcome"] == "rotated"


def test_the_last_record_counts_if_the_clock_was_set_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The computer's clock was ahead when the first group was recorded."""
    with monkeypatch.context() as patch:
        patch.setattr(break_glass, "time", SimpleNamespace(time=lambda: time.time() + 86400))
        desk.create(2, THREE)
    desk.break_glass("custodians", *desk.here("alice", "bob"), *desk.group(1, ["dave"]))
    assert desk.break_glass("status")["custodians"] == ["dave"]
    assert desk.break_glass("rotate", *desk.here("dave"))["outcome"] == "rotated"


FORMS: dict[str, Callable[[str], tuple[object, object]]] = {
    "json": lambda out: (json.loads(out)["recorded"], json.loads(out)["recipient"]),
    "jsonl": lambda out: (json.loads(out)["recorded"], json.loads(out)["recipient"]),
    "csv": lambda out: next(
        (row["recorded"] == "yes", row["recipient"] or None) for row in csv.DictReader(io.StringIO(out))
    ),
    "table": lambda out: (
        dict(re.findall(r"^(\w+) +(\S+)", out, re.MULTILINE))["recorded"] == "yes",
        dict(re.findall(r"^(\w+) +(\S+)", out, re.MULTILINE)).get("recipient"),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_status_of_a_planted_folder_has_no_recipient(desk: Desk, typed: Typed, form: str) -> None:
    """The row says that it is not recorded, and the exit code is 5. This ends when a person accepts it."""
    row = desk.create(2, THREE)
    words = ("break-glass", "status", "--output", form)
    done = desk.run(*words)
    assert (done.code, FORMS[form](done.out)) == (0, (True, row["recipient"]))
    planted = plant(row)
    done = desk.run(*words)
    assert (done.code, FORMS[form](done.out)) == (5, (False, None))
    assert recipient_in(planted) not in done.out + done.err
    assert "this computer did not record who the custodians in" in done.err
    assert desk.run("break-glass", "status", "--query", "recipient").out == ""
    typed(recipient_in(planted))
    done = desk.run(*words, "--accept-unrecorded")
    assert (done.code, FORMS[form](done.out)) == (0, (True, recipient_in(planted)))
    assert desk.run(*words).code == 0


@pytest.fixture
def sit(postgresql: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Return a function that makes this process a role and a computer that share a ledger. It returns the address."""
    database = postgresql.new_database()
    for role in ("berlin_1", "berlin_2"):
        postgresql.execute(f"drop role if exists {role}")
        postgresql.execute(f"create role {role} login")
    postgresql.execute(grants({"berlin_1": "berlin", "berlin_2": "berlin"}, []), database=database)

    def sit_at(role: str, computer: str) -> str:
        address = postgresql.address(database, role=role)
        monkeypatch.setenv("MFA_KIT_LEDGER", address)
        monkeypatch.setattr(socket, "gethostname", lambda: computer)
        return address

    sit_at("berlin_1", "rome")
    return sit_at


@pytest.mark.parametrize("leaked", [False, True])
@pytest.mark.parametrize(("role", "computer"), [("berlin_2", "rome"), ("berlin_1", "oslo")])
def test_a_row_of_another_role_or_computer_is_not_a_proof(
    desk: Desk, sit: Callable[[str, str], str], role: str, computer: str, leaked: bool
) -> None:
    """A desk of the team records a forged folder, and this computer does not use it."""
    row = desk.create(2, THREE)
    identity = desk.identity(row, "alice", "bob").decode().split()[-1]
    planted = plant(row, leaked=identity if leaked else None)
    keys = {name: desk.key(name).public for name in THREE}
    with open_at(sit(role, computer)) as ledger:
        BreakGlassRecords(ledger).add(
            Record(
                at=1.0, recipient=recipient_in(planted), action=RecoveryKeyAction.SEALED, custodians=keys, threshold=2
            )
        )
    sit("berlin_1", "rome")
    assert (
        desk.run("break-glass", "status").code,
        desk.run("break-glass", "rotate", *desk.here("alice", "bob")).code,
    ) == (5, 5)


def test_the_last_record_of_this_computer_counts_in_a_shared_ledger(
    desk: Desk, sit: Callable[[str, str], str], typed: Typed
) -> None:
    """`custodians` runs twice. A later group of another computer is an error that names both, until it is accepted."""
    first = desk.create(2, THREE)
    second = desk.break_glass("custodians", *desk.here("alice", "bob"), *desk.group(1, ["alice", "dave"]))
    third = desk.break_glass("custodians", *desk.here("dave"), *desk.group(1, ["dave", "erin"]))
    assert (desk.break_glass("status")["custodians"], desk.break_glass("status")["recorded"]) == (
        ["dave", "erin"],
        True,
    )
    for earlier in (first, second):
        assert desk.break_glass("status", "--dir", earlier["folder"], code=5)["recorded"] is False
    sit("berlin_2", "oslo")
    typed(third["recipient"])
    other = desk.break_glass("custodians", *desk.here("erin"), *desk.group(1, ["eve"]), "--accept-unrecorded")
    sit("berlin_1", "rome")
    for folder in (third["folder"], other["folder"]):
        for words in (("status",), ("rotate", *desk.here("dave", "eve"))):
            done = desk.run("break-glass", *words, "--dir", folder)
            assert done.code == 5, done
            told = " ".join(done.err.split())
            assert "berlin_2 on oslo recorded other custodians or another threshold for the identity in" in told
            assert "than berlin_1 on rome before" in told
    typed(third["recipient"])
    assert desk.break_glass("status", "--dir", other["folder"], "--accept-unrecorded")["recorded"] is True
    assert desk.break_glass("status")["custodians"] == ["eve"]
    assert desk.break_glass("status", "--dir", third["folder"], code=5)["recipient"] is None
