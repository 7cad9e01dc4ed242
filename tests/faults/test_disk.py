"""Tests of a disk that is full or fails at each write of ledger and backup, and of symlinks in place of folders."""

import errno
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pyrage
import pytest

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.lab.aws.server import Lab
from tests.faults.conftest import Judge, Nursery
from tests.faults.test_kill import AFTER, BEFORE
from tests.faults.worker import ADDRESS, act, at_desk, shared_iam
from tests.sizes import sample

INTEGRITY = 5


def writes(nursery: Nursery, verb: str, user: str, home: Path) -> int:
    """Run a verb, and return how many writes, syncs and links it made below its home folder."""
    assert nursery.run(["enroll"] * BEFORE[verb], user, home)[0] == 0
    code, said = nursery.run([verb], user, home, errno=errno.EIO, write=10**6)
    assert code == 0, said
    return int(said[-1].removeprefix("writes "))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
@pytest.mark.parametrize("verb", ["enroll", "replace", "revoke"])
def test_a_failed_write_is_repaired_by_the_same_command(
    verb: str,
    number: int,
    broken_disk: Nursery,
    judge: Judge,
    users: Callable[[], str],
    new_home: Callable[[str], Path],
    tried: Callable[[str, int], None],
) -> None:
    """The run ends in a known state and prints one sentence about the write."""
    whole = new_home("whole")
    total = writes(broken_disk, verb, users(), whole)
    failed = 0
    tries = sample(range(1, total + 1), 3 if (whole / ADDRESS).exists() else 9)
    for nth in tries:
        home, user = new_home(f"{nth}"), users()
        assert broken_disk.run(["enroll"] * BEFORE[verb], user, home)[0] == 0
        code, said = broken_disk.run([verb], user, home, errno=number, write=nth)
        assert code in {0, INTEGRITY}, said
        failed += code == INTEGRITY
        code, said = broken_disk.run([verb], user, home)
        assert code == 0 or (verb == "revoke" and "has no MFA device" in said[-1]), said
        assert broken_disk.run(["clean"], user, home)[0] == 0
        assert len(judge.works(user, home)) == AFTER[verb], nth
        tried(f"failed writes in {verb}", 1)
    assert failed > len(tries) // 2


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 512 KB that is nearly full."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    place = tmp_path / "full"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], check=True)
    (place / "ballast").write_bytes(bytes(456 * 1024))
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_file_system_leaves_iam_as_it_was(
    full: Path, nursery: Nursery, user: str, judge: Judge, new_home: Callable[[str], Path]
) -> None:
    """The kernel itself raises ENOSPC. Nothing is made, and the same command works once there is space."""
    home, other = full / "home", new_home("other")
    if other.exists():  # the ledger is in a database, so only the backups are in the full file system
        home.mkdir(mode=0o700)
        (home / ADDRESS).write_bytes((other / ADDRESS).read_bytes())
        with (full / "more").open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass
    code, said = nursery.run(["enroll"], user, home)
    assert code == INTEGRITY, said
    assert judge.works(user, home) == []
    for name in ("ballast", "more"):
        (full / name).unlink(missing_ok=True)
    assert nursery.run(["enroll"], user, home)[0] == 0
    assert len(judge.works(user, home)) == 1


def test_the_umask_does_not_change_the_modes(nursery: Nursery, user: str, tmp_path: Path) -> None:
    """Files are 0600 and folders 0700, even under umask 000."""
    assert nursery.run(["enroll"], user, tmp_path / "a" / "home", umask=0)[0] == 0
    for path in (tmp_path / "a").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_symlink_in_the_place_of_a_folder_is_refused(
    nursery: Nursery, user: str, tmp_path: Path, judge: Judge
) -> None:
    """A backup is never written to the target of a symlink. IAM is unchanged."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (home / "backups").mkdir(parents=True)
    (home / "backups" / "000000000000").symlink_to(elsewhere)
    code, said = nursery.run(["enroll"], user, home)
    assert code == INTEGRITY, said
    assert not list(elsewhere.iterdir())
    assert judge.works(user, elsewhere) == []


@pytest.mark.parametrize("what", ["file", "symlink", "folder"])
def test_a_file_in_the_place_of_a_backup_is_kept(
    what: str, user: str, tmp_path: Path, identity: pyrage.x25519.Identity, lab: Lab
) -> None:
    """It is not overwritten and not removed. IAM is unchanged."""
    home, run = tmp_path / "home", "20260101T000000Z-0123abcd"
    target = home / "backups" / "000000000000" / user / f"{user}-{run}.png.age"
    target.parent.mkdir(mode=0o700, parents=True)
    match what:
        case "file":
            target.write_text("somebody's")
        case "symlink":
            target.symlink_to(tmp_path / "elsewhere")
        case _:
            target.mkdir()
    with (
        at_desk(home, shared_iam(), recipient=str(identity.to_public())) as (desk, caller, backend, _),
        pytest.raises(IntegrityFault, match="already exists"),
    ):
        act("enroll", user, desk=desk, caller=caller, backend=backend(), run=run)
    assert not [serial for serial in lab.serials() if serial.endswith(f"/{user}")]
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert not (tmp_path / "elsewhere").exists()
    assert what != "file" or target.read_text() == "somebody's"
