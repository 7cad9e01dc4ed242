"""Search for the break-glass identity and the secret of a backup in output, logs, files and local variables."""

from pathlib import Path

import pytest

from tests.backups.conftest import SEED
from tests.break_glass.conftest import Desk
from tests.conftest import Result
from tests.test_secrets import Frames, loudest, secrets_in

THREE = ("alice", "bob", "ssh")


@pytest.mark.slow
def test_neither_identity_nor_seed_is_anywhere(desk: Desk) -> None:
    """The commands are create, drill, pass, custodians and rotate. The custodians' own keys are not shown either."""
    row = desk.create(2, THREE)
    desk.sealed("root", row["recipient"])
    said: list[Result] = []
    here = desk.here("ssh", "bob")
    with Frames() as frames, loudest() as logs:
        said.append(desk.run("break-glass", "create", *desk.group(3, THREE), "--dir", desk.folder / "other"))
        said.append(desk.run("break-glass", "drill", *here, "--dir", row["folder"], "--verbose"))
        [file] = Path(row["folder"]).glob("set-03*")
        said.append(desk.run("break-glass", "pass", file, *desk.here("bob"), "-o", desk.folder / "set-03-x.age"))
        said.append(desk.run("break-glass", "rotate", *here))
        said.append(desk.run("break-glass", "custodians", *here, *desk.group(1, ["bob"])))
        said.append(desk.run("break-glass", "status"))
        said.append(desk.run("ledger", "export"))
    assert [each.code for each in said] == [0] * 7
    assert {"layers.py:sealed", "layers.py:open_layers", "meeting.py:hold", "layers.py:remove_layer"} <= set(
        frames.seen
    )
    identities = [_identity(desk, folder) for folder in (row["folder"], *_folders(desk, row["folder"]))]
    assert len(set(identities)) == 2
    custodians = [desk.key(name).file.read_text().split()[-2 if name == "ssh" else -1] for name in THREE]
    secrets = [*(each.decode() for each in identities), desk.key("alice").file.read_text().strip(), custodians[1]]
    shown = {
        where
        for where, values in frames.seen.items()
        for value in values
        if any(each in value for each in secrets) or secrets_in(value.encode(), SEED.reveal()) or "PNG\\r" in value
    }
    # These are the places where a value becomes a secret.
    assert shown <= {"first line of otp.py:__init__"}
    text = "".join(each.out + each.err for each in said) + logs.text.getvalue()
    files = [path for path in desk.folder.rglob("*") if path.is_file() and path.suffix != ".key"]
    assert len(files) > 10
    for octets in [text.encode(), *(path.read_bytes() for path in files)]:
        assert not any(each.encode() in octets for each in secrets)
        assert not secrets_in(octets, SEED.reveal())


def _folders(desk: Desk, first: str) -> list[str]:
    return sorted(str(each) for each in (desk.home / "break-glass").iterdir() if str(each) != first)


def _identity(desk: Desk, folder: str) -> bytes:
    """Return the line with the identity that age finds in a folder whose custodians include bob."""
    names = ("bob",) if list(Path(folder).glob("set-01-bob.age")) else ("alice", "bob")
    return desk.identity({"folder": folder}, *names).split()[-1]
