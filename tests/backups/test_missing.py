"""A folder or bucket that was emptied: what should be there and is not, according to the ledger."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from mfa_kit.lab.aws.server import Lab
from tests.backups.conftest import Pair
from tests.conftest import MfaKit, Result

MISSING = "backup is missing"


def enroll(mfa_kit: MfaKit, user: str, to: Pair, place: str | Path) -> None:
    done = mfa_kit.run(
        *("enroll", user, "--with", "virtual", "--codes", "generated", "-r", to.recipient, "--backup-dir", place)
    )
    assert done.code == 0, done.err


def rows(done: Result) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads(done.out)["rows"]
    return read


def states(mfa_kit: MfaKit, place: str | Path) -> tuple[int, dict[str, str]]:
    """Return the exit code of `backup list`, and the state of each user's backup."""
    done = mfa_kit.run("backup", "list", "--backup-dir", place, "--output", "json")
    return done.code, {row["user"]: row.get("state", "stored") for row in rows(done)}


def verified(mfa_kit: MfaKit, place: str | Path, identity: Path) -> tuple[int, list[str | None]]:
    """Return the exit code of `backup verify --all`, and the fault of each file."""
    done = mfa_kit.run("backup", "verify", "--all", "-i", identity, "--backup-dir", place, "--output", "json")
    return done.code, [row["fault"] for row in rows(done)]


def reconciled(mfa_kit: MfaKit, place: str | Path, *users: str) -> list[tuple[str, str]]:
    """Return the differences about these users."""
    done = mfa_kit.run("ledger", "reconcile", "--backup-dir", place, "--output", "json")
    differences = [(row["user"], row["difference"]) for row in rows(done) if row["user"] in users]
    assert done.code == 1 or not differences
    return differences


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, at_lab: Lab, tmp_path: Path) -> str:
    del at_lab  # it sets the endpoint
    if request.param == "folder":
        (tmp_path / "backups").mkdir()
        return str(tmp_path / "backups")
    name = f"emptied-{tmp_path.parent.name}-{tmp_path.name}".lower().replace("_", "-")[-60:].strip("-")
    boto3.Session().client("s3").create_bucket(Bucket=name)
    return f"s3://{name}/pre"


def remove(place: str, user: str | None = None) -> None:
    """Remove a user's files, or all, without mfa-kit."""
    if not place.startswith("s3:"):
        for folder in Path(place).glob(f"*/{user or '*'}"):
            shutil.rmtree(folder)
        return
    bucket = place.split("/")[2]
    client = boto3.Session().client("s3")
    for entry in client.list_objects_v2(Bucket=bucket).get("Contents", ()):
        if user is None or f"/{user}/" in entry["Key"]:
            client.delete_object(Bucket=bucket, Key=entry["Key"])


def test_an_emptied_place_does_not_pass(
    mfa_kit: MfaKit, users: Callable[[], str], lab: Lab, place: str, old: Pair
) -> None:
    """Each backup that should be there is reported, but not that of a revoked device."""
    first, second, revoked = users(), users(), users()
    for user in (first, second, revoked):
        enroll(mfa_kit, user, old, place)
    assert mfa_kit.run("revoke", revoked, "--yes", "--leave-without-mfa").code == 0
    assert states(mfa_kit, place) == (0, {first: "stored", second: "stored"})
    assert verified(mfa_kit, place, old.file) == (0, [None, None])
    assert reconciled(mfa_kit, place, first, second, revoked) == []

    remove(place, first)
    assert states(mfa_kit, place) == (1, {second: "stored", first: "missing"})
    code, faults = verified(mfa_kit, place, old.file)
    assert (code, len(faults), "is missing" in (faults[1] or "")) == (5, 2, True), faults
    assert reconciled(mfa_kit, place, first, second) == [(first, MISSING)]

    remove(place)
    calls = len(lab.calls)
    assert states(mfa_kit, place) == (1, {first: "missing", second: "missing"})
    assert verified(mfa_kit, place, old.file)[0] == 5
    assert {call.operation for call in lab.calls[calls:]} <= {"ListObjectsV2"}
    assert sorted(reconciled(mfa_kit, place, first, second)) == sorted([(first, MISSING), (second, MISSING)])


def test_another_place_has_no_missing_backups(
    mfa_kit: MfaKit, user: str, place: str, old: Pair, tmp_path: Path
) -> None:
    """What the ledger has elsewhere does not count, but a command for a whole folder says that it is left out."""
    enroll(mfa_kit, user, old, place)
    other = tmp_path / "other"
    other.mkdir()
    assert states(mfa_kit, other) == (0, {})
    opened = ("-i", old.file, "--backup-dir")
    for words in (
        ("list", "--backup-dir"),
        ("verify", "--all", *opened),
        ("rekey", "-r", old.recipient, *opened),
    ):
        done = mfa_kit.run("backup", *words, other)
        assert (done.code, f"{place} (1)" in done.err, "use --backup-dir DIR" in done.err) == (0, True, True), done.err
        done = mfa_kit.run("backup", *words, place)
        assert (done.code, f"{place} (" in done.err) == (0, False), done.err


def test_the_former_path_of_a_folder_is_no_other_folder(
    mfa_kit: MfaKit, users: Callable[[], str], old: Pair, tmp_path: Path
) -> None:
    """Only the file that was not moved with the folder is left out, and only if the former folder is still there.

    The file of a device that is gone does not count.
    """
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    first, second, revoked = users(), users(), users()
    for user in (first, second, revoked):
        enroll(mfa_kit, user, old, before)
    assert mfa_kit.run("revoke", revoked, "--yes", "--leave-without-mfa").code == 0
    shutil.copytree(before, after)
    assert str(before) not in mfa_kit.run("backup", "list", "--backup-dir", after).err
    remove(str(after), second)
    assert f"{before} (1)" in mfa_kit.run("backup", "list", "--backup-dir", after).err
    shutil.rmtree(before)
    assert f"{before} (" not in mfa_kit.run("backup", "list", "--backup-dir", after).err


def test_another_folder_that_cannot_be_read_stops_no_command(
    mfa_kit: MfaKit, user: str, old: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, because its backups may still be there, for example on a server that does not answer."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    enroll(mfa_kit, user, old, before)
    stat = Path.stat

    def fail(path: Path, **options: bool) -> os.stat_result:
        if path == before:
            raise OSError(errno.EIO, "Input/output error")
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", fail)
    for words in (("list",), ("verify", "--all", "-i", old.file), ("rekey", "-i", old.file, "-r", old.recipient)):
        done = mfa_kit.run("backup", *words, "--backup-dir", after)
        assert (done.code, f"{before} (1)" in done.err) == (0, True), done.err


@pytest.mark.parametrize("below", ["", "000000000000", "lost+found"])
def test_a_folder_that_cannot_be_read_is_not_empty(
    mfa_kit: MfaKit, user: str, old: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    """Otherwise `verify --all` would find no fault in it. Folders without backups do not count.

    The error is planted, because permissions do not hold for root.
    """
    enroll(mfa_kit, user, old, tmp_path / "mine")
    (tmp_path / "mine" / "lost+found").mkdir()
    expected = (0, False) if below == "lost+found" else (5, True)
    listed = Path.iterdir

    def fail(path: Path) -> Iterator[Path]:
        if path == tmp_path / "mine" / below:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", fail)
    for words in (("list",), ("verify", "--all", "-i", old.file), ("rekey", "-i", old.file, "-r", old.recipient)):
        done = mfa_kit.run("backup", *words, "--backup-dir", tmp_path / "mine")
        assert (done.code, "cannot be read: Permission denied" in done.err) == expected, done.err


def test_a_pruned_backup_is_not_missing(
    mfa_kit: MfaKit, users: Callable[[], str], old: Pair, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two users left. One backup was removed by `backup prune`, and the other one without mfa-kit."""
    monkeypatch.setattr("mfa_kit.backups.pruning.YOUNG", -60.0)
    pruned, by_hand = users(), users()
    for user in (pruned, by_hand):
        enroll(mfa_kit, user, old, place)
        leave(user)
    remove(place, by_hand)
    done = mfa_kit.run("backup", "prune", "--yes", "--backup-dir", place, "--output", "json")
    assert [(row["user"], row["outcome"]) for row in rows(done)] == [(pruned, "removed")]
    assert states(mfa_kit, place) == (1, {by_hand: "missing"})
    assert {*reconciled(mfa_kit, place, pruned, by_hand)} == {
        (user, "device is not in IAM") for user in (pruned, by_hand)
    }


def leave(user: str) -> None:
    """Delete a user and the device, as an administrator would."""
    iam = boto3.Session().client("iam")
    for device in iam.list_mfa_devices(UserName=user)["MFADevices"]:
        iam.deactivate_mfa_device(UserName=user, SerialNumber=device["SerialNumber"])
        iam.delete_virtual_mfa_device(SerialNumber=device["SerialNumber"])
    iam.delete_user(UserName=user)


def test_a_users_own_copy_is_missing_too(mfa_kit: MfaKit, user: str, old: Pair, new: Pair, tmp_path: Path) -> None:
    """`verify --all` reads only the administrators' files, so it does not look for the copies."""
    place, roster, plan = tmp_path / "backups", tmp_path / "roster.csv", tmp_path / "plan.json"
    roster.write_text(f"user,recipient\n{user},{new.recipient}\n")
    assert mfa_kit.run("rollout", "plan", roster, "-o", plan).code == 0
    done = mfa_kit.run("rollout", "apply", plan, "-r", old.recipient, "--backup-dir", place)
    assert done.code == 0, done.err
    shutil.rmtree(place / "users")
    done = mfa_kit.run("backup", "list", "--backup-dir", place, "--output", "json")
    assert (done.code, [row["state"] for row in rows(done)]) == (1, ["stored", "missing"])
    assert Path(rows(done)[1]["file"]).parts[-4] == "users"
    assert verified(mfa_kit, place, old.file) == (0, [None])
    assert reconciled(mfa_kit, place, user) == [(user, MISSING)]
    shutil.rmtree(place)
    place.mkdir()
    (mfa_kit.home / "ledger.sqlite").unlink()
    assert states(mfa_kit, place) == (0, {})
    record = ("--record", tmp_path / "plan-results")
    done = mfa_kit.run("backup", "list", "--backup-dir", place, *record, "--output", "json")
    assert (done.code, [row["state"] for row in rows(done)]) == (1, ["missing", "missing"])
    assert mfa_kit.run("backup", "verify", "--all", "-i", old.file, "--backup-dir", place, *record).code == 5
