"""Tests of the private pcscd: several run in parallel, and they leave nothing on the computer."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from mfa_kit.core.errors import DeviceFault
from mfa_kit.lab.devices import reader
from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.lab.devices.reader import PORT, Readers
from tests import pcsc
from tests.conftest import MfaKit


def serials(mfa_kit: MfaKit, readers: Readers) -> list[str]:
    done = mfa_kit.process("key", "list", "--output", "json", env=readers.env)
    return [row["serial"] for row in json.loads(done.out)["rows"]]


def ours(folder: Path) -> list[Path]:
    """Return the processes whose mounts show a private pcscd's folder."""
    found = []
    for mounts in Path("/proc").glob("[0-9]*/mountinfo"):
        with suppress(OSError):
            found += [mounts] if folder.name in mounts.read_text() else []
    return found


def listening() -> set[int]:
    """Return the listening ports of this network namespace (proc(5), net/tcp)."""
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}


@pytest.mark.slow
def test_private_services_run_in_parallel_and_leave_nothing(mfa_kit: MfaKit) -> None:
    """All services use the same ports and names. None leaves a port, folder or process on the computer."""
    others = listening()  # any port may be that of a server of another test
    shared = pcsc.plug(YkoathCard(serial=1111))
    with Readers() as first, Readers() as second:
        first.insert(YkoathCard(serial=2222))
        second.insert(YkoathCard(serial=3333))
        seen = [serials(mfa_kit, each) for each in (shared, first, second)]
        assert seen == [["1111"], ["2222"], ["3333"]]
        assert not {PORT, PORT + 1} & listening() - others
        folders = [first.folder, second.folder]
        assert all(ours(folder) for folder in folders)
    assert not [ours(folder) for folder in folders if ours(folder)]
    assert not [folder for folder in folders if folder.exists()]
    assert serials(mfa_kit, shared) == ["1111"]


def test_a_service_that_does_not_start_says_why_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the first lines of the service's own output."""
    monkeypatch.setattr(reader, "INSIDE", "echo no room for it; exit 1")
    readers = Readers()
    with pytest.raises(DeviceFault, match="did not start: no room for it") as caught, readers:
        pass
    assert "SYS_ADMIN" in caught.value.hint
    assert not readers.folder.exists()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (['a"b'], "invalid reader name"),
        ([""], "invalid reader name"),
        (["x" * 121], "121"),
        (["r"] * 9, "9 readers"),
    ],
)
def test_readers_that_pcscd_does_not_accept_are_refused(names: list[str], said: str, mfa_kit: MfaKit) -> None:
    """The error comes before pcscd starts. A name of 121 letters is shown in full."""
    done = mfa_kit.run("lab", "card", *(word for name in names for word in ("--reader", name)), "--", "true")
    assert done.code == 2
    assert said.replace("121", "x" * 121) in done.err


def test_a_reader_that_accepts_no_card_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process listens for a card at the reader's port."""
    monkeypatch.setattr(reader, "START", 0.2)
    monkeypatch.setattr(reader, "connect_within", lambda *_: socket.create_connection(("127.0.0.1", 1)))
    with pytest.raises(DeviceFault, match="accepts no card"):
        pcsc.shared().insert(YkoathCard(), 3)


@pytest.mark.parametrize(("name", "value"), [("euid", 1000), ("driver", "/no/such/driver.so")])
def test_missing_requirements_of_a_private_service_are_reported(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A private service needs root and two packages. The error comes before anything is created."""
    pcsc.shared()
    if name == "euid":
        monkeypatch.setattr("os.geteuid", lambda: value)
    else:
        monkeypatch.setattr(reader, "DRIVER", Path(str(value)))
    with pytest.raises(DeviceFault) as caught:
        Readers().__enter__()
    assert ("root" if name == "euid" else "vsmartcard-vpcd") in caught.value.hint


def home_of(socket: str) -> Path:
    """Return the folder of a private pcscd, found by its socket. It has no other file on the disk."""
    folder = Path(socket).parents[2]
    assert folder.name.startswith("mfa-kit-pcsc-")
    return folder


@pytest.mark.slow
def test_the_labs_card_is_a_command(mfa_kit: MfaKit) -> None:
    """A child process sees the key. When it ends, no reader and no pcscd is left."""
    done = mfa_kit.process(
        "lab", "card", "--", "sh", "-c", f"echo $PCSCLITE_CSOCK_NAME; exec {sys.executable} -m mfa_kit key list"
    )
    path, _, listed = done.out.partition("\n")
    assert done.code == 0, done.err
    assert "YubiKey 5A" in listed
    assert not home_of(path).exists()
    waiting = mfa_kit.start("lab", "card")
    assert waiting.stdout
    export = waiting.stdout.readline()
    assert export.startswith("export PCSCLITE_CSOCK_NAME=")
    waiting.send_signal(signal.SIGTERM)
    waiting.communicate()
    assert waiting.returncode == 0
    assert not home_of(export.split("=")[1].strip()).exists()


@pytest.mark.slow
@pytest.mark.parametrize("line", [("card",), ("key", "--reader")], ids=" ".join)
def test_a_command_outside_a_lab_has_no_credentials(line: tuple[str, ...], mfa_kit: MfaKit) -> None:
    """In a lab, the command has the lab's credentials.

    Without a lab, a command could otherwise change a real account.
    """
    command = ("lab", *line, "--", "env")
    assert f"AWS_SECRET_ACCESS_KEY={mfa_kit.env['AWS_SECRET_ACCESS_KEY']}" in mfa_kit.process(*command).out
    real = dict.fromkeys(("AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "MFA_KIT_PROFILE", "MFA_KIT_LAB"), "canary-5839")
    done = mfa_kit.process(*command, env=real)
    assert "PCSCLITE_CSOCK_NAME=" in done.out
    assert "AWS_ENDPOINT_URL=http://127.0.0.1:9\n" in done.out
    assert [name for name in done.out.splitlines() if "canary" in name] == ["MFA_KIT_LAB=canary-5839"]


@pytest.mark.parametrize("line", [("card",), ("key", "--reader")], ids=" ".join)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_reader_that_is_ended_while_it_starts_leaves_nothing(
    line: tuple[str, ...], number: signal.Signals, mfa_kit: MfaKit
) -> None:
    """The pcscd of the reader is running, but its command has not started yet."""
    # The path of a socket must be short.
    with tempfile.TemporaryDirectory() as folder:
        starting = mfa_kit.start("lab", *line, "--", "sleep", "60", env={"TMPDIR": folder})
        while starting.poll() is None and not list(Path(folder).glob("*/run/pcscd/*")):
            time.sleep(0.005)
        starting.send_signal(number)
        told = starting.communicate(timeout=60)
        assert starting.returncode == 128 + number, told
        assert list(Path(folder).iterdir()) == []


@pytest.mark.slow
def test_cards_of_the_lab_are_inserted_by_number(mfa_kit: MfaKit) -> None:
    """A number inserts a key, and the same number removes it. Invalid input and a lack of free readers are errors."""
    box = mfa_kit.start("lab", "card", "--box", "2", "--serial", "7", stdin=subprocess.PIPE)
    assert box.stdout
    assert box.stdin
    assert box.stderr
    env = dict([box.stdout.readline().strip().removeprefix("export ").split("=")])
    said = [box.stderr.readline()]
    for line in ("1", "2", "1", "2", "9", "x"):
        box.stdin.write(f"{line}\n")
        box.stdin.flush()
        said.append(box.stderr.readline())
    assert [line.strip() for line in said[1:]] == [
        "key 1 is plugged in, serial 7",
        "no reader is free: pull a key out first",
        "key 1 is unplugged",
        "key 2 is plugged in, serial 8",
        "type a number from 1 to 2",
        "type a number from 1 to 2",
    ]
    listed = mfa_kit.process("key", "list", "--output", "json", env=env)
    assert [row["serial"] for row in json.loads(listed.out)["rows"]] == ["8"]
    box.send_signal(signal.SIGINT)
    box.communicate()
    assert box.returncode == 0
    assert mfa_kit.run("lab", "card", "--box", "2", "--", "true").code == 2


@pytest.mark.slow
def test_a_lab_card_that_is_killed_leaves_no_pcscd(mfa_kit: MfaKit) -> None:
    """The kernel ends the pcscd with its parent. The system's own pcscd is never used."""
    waiting = mfa_kit.start("lab", "card")
    assert waiting.stdout
    folder = home_of(waiting.stdout.readline().split("=")[1].strip())
    assert ours(folder)
    waiting.kill()
    waiting.communicate()
    until = time.monotonic() + 30
    while ours(folder):
        assert time.monotonic() < until
        time.sleep(0.05)
    shutil.rmtree(folder)
