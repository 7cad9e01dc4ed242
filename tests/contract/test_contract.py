"""Sends the contract to the lab, moto and MiniStack. The lab agrees in all cases, the others in known ones."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab, LabRequestHandler
from tests.conftest import MfaKit
from tests.contract.__main__ import main, told
from tests.contract.cases import Case, Desk, differences, reads, writes

ANY = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
# Rows in which moto and MiniStack answer as recorded from IAM. The other rows are printed (docs/lab.md).
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
    assert capsys.readouterr().out.count(" as docs/lab.md says\n") == 2
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
    assert capsys.readouterr().out.count(" as docs/lab.md says\n") == 2


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
        "0 of 1 as docs/lab.md says",
        "  some-row",
        "    expected  expected words",
        "    says      other words",
    ]
    assert "lacks it  InvalidAction" in told([row], [(row, "InvalidAction: no")])


@pytest.fixture
def moto() -> Iterator[str]:
    """Run moto on loopback, without the lab's response classes."""
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
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_plain_moto_agrees_in_the_known_rows(moto: str) -> None:
    """Without the lab's response classes, moto agrees with IAM in at least the known rows."""
    assert _agreed(Desk(endpoint_url=moto, keys=ANY)) >= MOTO


@pytest.fixture
def desk(tmp_path: Path, recipient: str, monkeypatch: pytest.MonkeyPatch) -> MfaKit:
    """Return the command line with a recipient and credentials, without a server. It waits at no time."""
    home = tmp_path / "desk"
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text(f'recipients = ["{recipient}"]\n')
    monkeypatch.setenv("MFA_KIT_HOME", str(home))
    for name, value in (("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    return MfaKit(home)


def test_devices_are_replaced_and_removed_without_their_tags(
    moto: str, desk: MfaKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moto lacks ListMFADeviceTags. A device is recognized by its EnableDate."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    iam = boto3.Session().client("iam")
    users = ("alice", "bob", "carol")
    for name in users:
        iam.create_user(UserName=name)

    def serials(user: str) -> list[str]:
        return [row["SerialNumber"] for row in iam.list_mfa_devices(UserName=user)["MFADevices"]]

    virtual = ("--with", "virtual", "--codes", "generated")
    assert desk.run("enroll", "alice", *virtual).code == 0
    [first] = serials("alice")
    done = desk.run("replace", "alice", *virtual, "--yes")
    assert done.code == 0, done.err
    [second] = serials("alice")
    assert second != first
    assert desk.run("revoke", "alice", "--leave-without-mfa", "--yes").code == 0
    plan = desk.home / "plan.json"
    (desk.home / "roster.csv").write_text("user\nbob\ncarol\n")
    assert desk.run("rollout", "plan", desk.home / "roster.csv", "-o", plan).code == 0
    done = desk.run("rollout", "apply", plan, "--accept-lockout", "--output", "jsonl")
    assert done.code == 0, done.err
    [run] = {json.loads(line)["run"] for line in done.out.splitlines()}
    done = desk.run("rollout", "undo", run, "--yes", "--leave-without-mfa")
    assert done.code == 0, done.err
    assert [serials(name) for name in users] == [[], [], []]
    remaining = {row["SerialNumber"] for row in iam.list_virtual_mfa_devices()["VirtualMFADevices"]}
    assert not remaining & {first, second, *(first.replace("alice", name) for name in ("bob", "carol"))}


def test_an_old_credential_report_of_another_server_is_refused(
    moto: str, desk: MfaKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report of moto is of 2015. An audit does not know, status asks about each user, and a plan is refused."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    boto3.Session().client("iam").create_user(UserName="dora")
    stored = desk.home / "account.json"
    for more in ((), ("--snapshot", stored), ("--snapshot", stored)):
        audit = desk.run("audit", "--output", "jsonl", "--rule", "users.mfa", *more)
        assert {json.loads(line)["result"] for line in audit.out.splitlines()} == {"unknown"}
    status = desk.run("status")
    assert status.code == 0
    assert "and at most 4 h 0 min is accepted" in status.err
    plan = desk.run("rollout", "plan", "--without-mfa", "--trust-report", "-o", desk.home / "plan.json")
    assert plan.code == 4
    assert "a plan without --trust-report" in plan.err
    assert not (desk.home / "plan.json").exists()


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


@pytest.mark.slow
def test_a_device_is_revoked_without_its_tags(ministack: str, desk: MfaKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """MiniStack lacks ListMFADeviceTags too, and says so with another answer than moto."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", ministack)
    iam = boto3.Session().client("iam")
    iam.create_user(UserName="erin")
    serial = iam.create_virtual_mfa_device(VirtualMFADeviceName="erin")["VirtualMFADevice"]["SerialNumber"]
    iam.enable_mfa_device(
        UserName="erin", SerialNumber=serial, AuthenticationCode1="123456", AuthenticationCode2="654321"
    )
    done = desk.run("revoke", "erin", "--leave-without-mfa", "--yes")
    assert done.code == 0, done.err
    assert iam.list_virtual_mfa_devices()["VirtualMFADevices"] == []
