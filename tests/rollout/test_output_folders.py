"""Letters with secrets are not written where somebody else could read or exchange them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mfa_kit.disk.files import fault_of_output
from mfa_kit.wiring import files
from tests.conftest import NOBODY, Result
from tests.rollout.conftest import Rollout, key_file
from tests.rollout.person import AtStation

COMMANDS = ("handover", "post", "station")


@pytest.fixture(params=COMMANDS)
def write(request: pytest.FixtureRequest, rollout: Rollout, users: Callable[[], str]) -> Callable[[Path], Result]:
    """Return a function that runs a command that writes letters with secrets into a folder."""
    rollout.plan(f"{users()},oath", columns="user,kind")
    identity = ("-i", key_file(rollout.identity, rollout.folder))
    words: dict[str, tuple[str | Path, ...]] = {
        "handover": ("-o", rollout.folder / "out", "--passphrase-files", *identity, "--passphrases"),
        "post": (*identity, "--secrets"),
        "station": ("-r", rollout.recipient, "--letters"),
    }

    def run(folder: Path) -> Result:
        with AtStation().there():
            return rollout.desk.run("rollout", request.param, rollout.file, *words[request.param], folder)

    return run


def test_a_folder_that_others_may_write_to_is_refused(write: Callable[[Path], Result], tmp_path: Path) -> None:
    """An existing folder, a new one whose parent others may write to, and a link. Nothing is made."""
    shared, link, apart = (tmp_path / name for name in ("shared", "link", "apart"))
    shared.mkdir()
    apart.mkdir(mode=0o700)
    shared.chmod(0o777)
    link.symlink_to(apart)
    for folder, told in (
        (shared, f"{shared} can be written by other users"),
        (shared / "new", f"{shared} can be written by other users"),
        (shared / "new" / "below", f"{shared} can be written by other users"),
        (link, f"{link} is a symbolic link"),
    ):
        done = write(folder)
        if not folder.exists() and "--letters: directory" in done.err:
            continue  # the station never makes this folder
        assert (done.code, told in " ".join(done.err.split())) == (2, True), done
        assert ("chmod go-w" in done.err) is (folder != link)
        assert not (shared / "new").exists()


def test_on_a_network_file_system_it_is_a_warning(
    write: Callable[[Path], Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner there may be one of another computer. The command goes on, and ends for a reason of its own."""
    monkeypatch.setattr(files, "file_system", lambda _: "nfs4")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    told = " ".join(write(shared).err.split())
    assert f"{shared} can be written by other users, on a network file system" in told


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give folders away")
def test_the_parents_count_up_to_the_first_sticky_or_root_owned_one(tmp_path: Path) -> None:
    """In a sticky folder, users cannot exchange what belongs to others, unless the folder is theirs."""
    above, folder = tmp_path / "above", tmp_path / "above" / "letters"
    above.mkdir()
    assert fault_of_output(folder) is None
    for mode, owner, refused in (
        (0o755, 0, False),
        (0o777, 0, True),
        (0o775, 0, True),
        (0o1777, 0, False),
        (0o1777, NOBODY, True),
        (0o755, NOBODY, True),
    ):
        os.chown(above, owner, owner)
        above.chmod(mode)
        for missing in (folder, folder / "below"):
            assert (fault_of_output(missing) is not None) is refused, (oct(mode), owner)


def test_a_link_above_the_folder_is_followed_and_its_own_folder_counts(tmp_path: Path) -> None:
    """Who may write to the folder of the link could point it elsewhere later."""
    shared, good = tmp_path / "shared", tmp_path / "good"
    shared.mkdir()
    good.mkdir(mode=0o700)
    link = shared / "link"
    link.symlink_to(good)
    assert fault_of_output(link / "letters") is None
    good.chmod(0o777)
    assert fault_of_output(link / "letters") is not None
