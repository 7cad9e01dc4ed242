"""Sends the contract to the lab, moto and MiniStack. The lab agrees in all cases, the others in known ones."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from threading import Thread

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from mfa_kit.lab.aws.codes import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.aws.wsgi import LabRequestHandler
from tests.contract.__main__ import main, told
from tests.contract.cases import Case, Desk, differences, reads, writes

ANY = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
# Rows in which moto and MiniStack answer as recorded from IAM. The other rows are printed (docs/lab-reference.md).
MOTO = {"account-summary", "create-taken", "deactivate-unassigned", "enable", "enabled-here", "unknown-user"}
MINISTACK = {
    "account-summary",
    "create-taken",
    "deactivate-unassigned",
    "delete-assigned",
    "enable",
    "enabled-elsewhere",
    "enabled-here",
    "resync-unassigned",
    "unknown-user",
}


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Run a lab without the delays of the real service."""
    with Lab(settings=LabSettings(propagation=0)) as running:
        yield running


def _agreed(desk: Desk) -> set[str]:
    """Print the differences. Return the rows with the same response. The message of an error does not count."""
    wrong: set[str] = set()
    for name, part in (("writes", writes), ("reads", reads)):
        found = list(differences(part, desk))
        print(f"{name}: {told(part, found)}")  # noqa: T201 - the differences are what this is for
        wrong |= {case.row for case, said in found if said.partition(":")[0] != case.says.partition(":")[0]}
    return {case.row for case in (*reads, *writes)} - wrong


def test_the_lab_agrees_in_all_cases(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script for owners of a test account finds no difference at the lab, and leaves no entities behind."""
    for name, value in lab.env.items():
        monkeypatch.setenv(name, value)
    endpoint = ["--endpoint-url", lab.url, "--patience", "0"]
    assert main([*endpoint, "--writes", "--account", "000000000000"]) == 0
    assert capsys.readouterr().out.count(" as docs/lab-reference.md says\n") == 2
    assert (lab.serials(), set(lab.account.backend.users)) == (set(), {"lab-admin"})


def test_differences_are_printed_if_cleanup_fails(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The owner of the account needs the differences, and the error that ended the script."""

    def fail(_: Desk) -> None:
        raise PermissionError("denied")

    for name, value in lab.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Desk, "clear", fail)
    with pytest.raises(PermissionError):
        main(["--endpoint-url", lab.url, "--patience", "0", "--writes", "--account", "000000000000"])
    assert capsys.readouterr().out.count(" as docs/lab-reference.md says\n") == 2


def test_the_reading_part_writes_nothing(lab: Lab) -> None:
    """The part calls only Get and List operations."""
    keys = {"aws_access_key_id": lab.admin.access_key_id, "aws_secret_access_key": lab.admin.secret_access_key}
    assert list(differences(reads, Desk(endpoint_url=lab.url, keys=keys))) == []
    assert [call.operation for call in lab.calls if not call.operation.startswith(("Get", "List"))] == []


def test_the_writing_part_requires_the_account_id(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the ID is missing or that of another account, the script is refused before anything is created."""
    for name, value in lab.env.items():
        monkeypatch.setenv(name, value)
    for account, said in (
        ([], "--writes needs --account 000000000000"),
        (["--account", "111122223333"], "the credentials belong to account 000000000000, not to 111122223333"),
    ):
        assert main(["--endpoint-url", lab.url, "--writes", *account]) == 2
        assert said in capsys.readouterr().err
    assert {call.operation for call in lab.calls} == {"GetCallerIdentity"}


def test_a_difference_is_printed_with_both_answers() -> None:
    """The output has the expected and the actual response, and says if an operation is missing."""
    row = Case("some-row", "expected words", lambda _: "other words")
    assert told([row], [(row, "other words")]).splitlines() == [
        "0 of 1 as docs/lab-reference.md says",
        "  some-row",
        "    expected  expected words",
        "    says      other words",
    ]
    assert "lacks it  InvalidAction" in told([row], [(row, "InvalidAction: no")])


def test_plain_moto_agrees_in_the_known_rows() -> None:
    """Without the lab's response classes, moto agrees with IAM in at least the known rows."""
    server = make_server(
        "127.0.0.1",
        0,
        DomainDispatcherApplication(create_backend_app),
        threaded=True,
        request_handler=LabRequestHandler,
    )
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        desk = Desk(endpoint_url=f"http://127.0.0.1:{server.server_port}", keys=ANY)
        agreed = _agreed(desk)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert agreed >= MOTO


@pytest.fixture
def ministack() -> Iterator[str]:
    """Run MiniStack on loopback."""
    pytest.importorskip("ministack", reason="ministack is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {**os.environ, "GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1"}
    command = [sys.executable, "-m", "ministack"]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            running.terminate()


@pytest.mark.slow
def test_ministack_agrees_in_the_known_rows(ministack: str) -> None:
    """MiniStack is an emulator without moto. Only the operations that MiniStack has are compared."""
    desk = Desk(endpoint_url=ministack, keys=ANY)
    assert _agreed(desk) >= MINISTACK
