"""Faults: the client's view of each, and whether the lab acted."""

import json
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws import faults
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.aws.wire import HttpResponse
from tests.lab.client import Aws, refused


@pytest.mark.parametrize(
    ("fault", "error", "acted"),
    [
        ("throttle", "Throttling", False),
        ("denied", "AccessDenied", False),
        ("expired", "ExpiredToken", False),
        ("busy", "ConcurrentModification", False),
        ("error-before", "ServiceFailure", False),
        ("error-after", "ServiceFailure", True),
    ],
)
def test_faults_that_return_an_error(lab: Lab, admin: Aws, fault: str, error: str, acted: bool) -> None:
    """Only the next call gets the error. With some faults, the lab carries out the call nevertheless."""
    lab.faults.add("CreateVirtualMFADevice", fault)
    assert admin.iam.list_users()
    with refused(error):
        admin.create("alice")
    assert bool(lab.serials()) == acted
    assert admin.create("bob")


def test_a_denial_names_the_caller_and_the_action(lab: Lab, admin: Aws) -> None:
    """The message is that of IAM for a call that no policy allows."""
    lab.faults.add("DeleteVirtualMFADevice", "denied")
    with refused(
        "AccessDenied",
        "User: arn:aws:iam::000000000000:user/lab-admin is not authorized to perform: iam:DeleteVirtualMFADevice "
        "on resource: arn:aws:iam::000000000000:mfa/alice "
        "because no identity-based policy allows the iam:DeleteVirtualMFADevice action",
    ):
        admin.iam.delete_virtual_mfa_device(SerialNumber="arn:aws:iam::000000000000:mfa/alice")


@pytest.mark.parametrize(("fault", "acted"), [("lost-before", False), ("lost-after", True)])
def test_faults_that_close_the_connection(lab: Lab, admin: Aws, fault: str, acted: bool) -> None:
    """The connection ends without a response."""
    lab.faults.add("CreateVirtualMFADevice", fault)
    with pytest.raises(ConnectionClosedError):
        admin.create("alice")
    assert bool(lab.serials()) == acted
    assert lab.calls[-1].error == "lost"


def test_a_late_enable_takes_effect_after_a_listing(lab: Lab, admin: Aws) -> None:
    """The client times out and finds no device in the list. Only then does the lab carry out the request."""
    serial = admin.create("alice")
    lab.faults.add("EnableMFADevice", "late", seconds=0.1, listings=1)
    with pytest.raises(ConnectionClosedError):
        admin.enable("alice", serial)
    time.sleep(0.3)
    assert admin.iam.list_mfa_devices(UserName="alice")["MFADevices"] == []
    while lab.assigned(serial) is None:
        time.sleep(0.02)
    assert lab.assigned(serial) == "alice"


def test_lists_that_are_out_of_date(lab: Lab, admin: Aws) -> None:
    """Both lists of devices show an earlier state, while the other operations of IAM use the current one."""
    lab.faults.add("*", "lag", seconds=600)
    serial = admin.enrolled("alice")
    assert admin.iam.list_virtual_mfa_devices()["VirtualMFADevices"] == []
    assert admin.iam.list_mfa_devices(UserName="alice")["MFADevices"] == []
    with refused("DeleteConflict"):
        admin.iam.delete_virtual_mfa_device(SerialNumber=serial)
    lab.account.views[:] = [(at - 600, view) for at, view in lab.account.views]  # as if ten minutes had passed
    assert admin.iam.list_mfa_devices(UserName="alice")["MFADevices"]
    admin.iam.deactivate_mfa_device(UserName="alice", SerialNumber=serial)
    assert admin.iam.list_mfa_devices(UserName="alice")["MFADevices"]
    lab.faults.clear()
    assert admin.iam.list_mfa_devices(UserName="alice")["MFADevices"] == []


def test_a_wrong_clock_of_aws(lab: Lab, admin: Aws) -> None:
    """The Date header and the codes follow AWS's clock, not this computer's."""
    before = lab.account.now()
    lab.faults.add("*", "clock", seconds=120)
    date = admin.iam.list_users()["ResponseMetadata"]["HTTPHeaders"]["date"]
    assert parsedate_to_datetime(date).timestamp() == int(lab.account.now()) == int(before) + 120
    serial = admin.create("alice")
    admin.iam.enable_mfa_device(UserName="alice", SerialNumber=serial, **admin.pair(admin.seeds[serial]))
    assert lab.account.backend.codes(serial).skew == 0


@pytest.mark.parametrize("seconds", [-400, 400])
def test_a_clock_wrong_by_over_five_minutes_refuses_signatures(lab: Lab, admin: Aws, seconds: float) -> None:
    """SigV4 tolerates five minutes."""
    lab.faults.add("*", "clock", seconds=seconds)
    with refused("SignatureDoesNotMatch"):
        admin.iam.list_users()


def test_latency_is_added_to_every_response(lab: Lab, admin: Aws) -> None:
    """The latency also delays the error of another fault."""
    lab.faults.add("ListUsers", "latency", at="every", seconds=0.2)
    lab.faults.add("ListUsers", "throttle")
    client = admin.iam
    for error in ("Throttling", ""):
        began = time.monotonic()
        if error:
            with refused(error):
                client.list_users()
        else:
            client.list_users()
        assert time.monotonic() - began > 0.2


def test_a_bucket_throttles_fast_calls(lab: Lab, admin: Aws) -> None:
    """The bucket allows two calls at once, then one per hour."""
    lab.faults.add("*", "bucket", rate=1 / 3600, burst=2)
    client = admin.iam
    client.list_users()
    client.list_users()
    with refused("Throttling", "Rate exceeded"):
        client.list_users()
    buckets = lab.faults.rules()[0].buckets
    buckets.update({account: (tokens, at - 3600) for account, (tokens, at) in buckets.items()})  # an hour has passed
    client.list_users()
    with refused("Throttling", "Rate exceeded"):
        client.list_users()


def test_the_nth_call(lab: Lab, admin: Aws) -> None:
    """A rule counts the matching calls since it was added. `*` matches all operations."""
    client = admin.iam
    client.list_users()
    lab.faults.add("ListUsers", "denied", at=2)
    lab.faults.add("*", "throttle", at=4)
    client.list_users()
    client.list_groups()
    with refused("AccessDenied"):
        client.list_users()
    with refused("Throttling"):
        client.list_groups()
    client.list_users()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"fault": "flood"}, "unknown fault 'flood'"),
        ({"fault": "latency"}, "the fault latency needs the parameter seconds"),
        ({"fault": "denied", "seconds": 1}, "the fault denied has no parameter seconds"),
        ({"fault": "latency", "seconds": -1}, "seconds of the fault latency cannot be -1"),
        ({"fault": "latency", "seconds": 10**400}, "seconds of the fault latency cannot be 1000"),
        ({"fault": "clock", "seconds": -1e15}, "seconds of the fault clock cannot be -1"),
        ({"fault": "late", "seconds": 1, "listings": float("inf")}, "listings of the fault late cannot be inf"),
        ({"fault": "clock", "seconds": float("nan")}, "seconds of the fault clock cannot be nan"),
        ({"fault": "denied", "at": "soon"}, "'soon' is not a valid 'at'"),
        ({"fault": "denied", "at": 0}, "0 is not a valid 'at'"),
        ({"fault": "denied", "at": True}, "True is not a valid 'at'"),
        ({"fault": "latency", "seconds": "1"}, "the value of seconds is not a number"),
        ({"operation": "ListUsers"}, "is not a rule"),
        ({"fault": "denied", "operation": "ListUser"}, "the services of the lab have no operation 'ListUser'"),
        (["denied"], "is not a rule"),
    ],
)
def test_invalid_rules_are_error_messages(row: Any, said: str) -> None:
    """Cases: unknown faults and operations, wrong parameters, and invalid values of `at`."""
    with pytest.raises(UsageFault) as caught:
        faults.Faults().add_row(row)
    assert said in str(caught.value)
    assert caught.value.hint


def test_a_fault_is_one_row_of_a_table(lab: Lab, admin: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a row is added to FAULTS, rules can use this fault. Its function decides how the lab responds."""

    def close(_rule: faults.FaultRule, call: faults.FaultyCall) -> HttpResponse:
        call.act()
        return call.refuse("ServiceUnavailable", "closed for lunch")

    monkeypatch.setattr(faults, "FAULTS", {**faults.FAULTS, "lunch": faults.Fault(play=close, takes=("minutes",))})
    lab.faults.add("CreateVirtualMFADevice", "lunch", minutes=30)
    assert [rule.row()["minutes"] for rule in lab.faults.rules()] == [30]
    with refused("ServiceUnavailable", "closed for lunch"):
        admin.create("alice")
    assert lab.serials()


def test_rules_from_a_file(tmp_path: Path) -> None:
    """A JSON file has a list, and a TOML file has tables named rule."""
    rule = {"operation": "EnableMFADevice", "fault": "late", "seconds": 2, "listings": 1, "at": 3}
    (tmp_path / "rules.json").write_text(json.dumps([rule]), "utf-8")
    lines = [f"{name} = {json.dumps(value)}" for name, value in rule.items()]
    (tmp_path / "rules.toml").write_text("\n".join(["[[rule]]", *lines]), "utf-8")
    for name in ("rules.json", "rules.toml"):
        assert faults.read_rules(tmp_path / name) == [rule]


def test_a_misspelled_table_of_rules_is_named(tmp_path: Path) -> None:
    """The name of the tables is in the singular."""
    file = tmp_path / "rules.toml"
    file.write_text('[[rules]]\noperation = "*"\nfault = "throttle"\n', "utf-8")
    with pytest.raises(UsageFault, match=r"has the tables \[\[rules\]\]") as caught:
        faults.read_rules(file)
    assert caught.value.hint == "write [[rule]] above each rule"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("none.json", None, "cannot be read: No such file or directory"),
        ("bad.json", "{", "is not a file of rules"),
        ("bad.toml", "[", "is not a file of rules"),
        ("table.json", "{}", "contains no list of rules"),
        ("empty.toml", "", "contains no list of rules"),
    ],
)
def test_invalid_files_of_rules(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    """The error names the file."""
    if text is not None:
        (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(UsageFault, match=name) as caught:
        faults.read_rules(tmp_path / name)
    assert said in str(caught.value)
