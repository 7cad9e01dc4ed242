"""Values: names that IAM accepts, serials, and run IDs."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfa_kit.core import models
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import Caller, Device, DeviceSpec, DeviceType, JournalEntry, JournalState

ALICE: dict[str, Any] = {"account": "123456789012", "partition": "aws", "user": "alice", "name": "alice"}
ALLOWED = st.text("abcXYZ019_+=,.@-", min_size=1, max_size=64)


@pytest.mark.parametrize(
    ("serial", "kind"),
    [
        ("arn:aws:iam::123456789012:mfa/alice", DeviceType.VIRTUAL),
        ("arn:aws-us-gov:iam::123456789012:mfa/desk/alice", DeviceType.VIRTUAL),
        ("arn:aws:iam::123456789012:u2f/user/alice/key-ABC", DeviceType.FIDO2),
        ("arn:aws:iam::123456789012:sms-mfa/alice", DeviceType.SMS),
        ("arn:aws:iam::123456789012:other/alice", DeviceType.HARDWARE_TOTP),
        ("GAHT12345678", DeviceType.HARDWARE_TOTP),
    ],
)
def test_the_kind_is_read_from_the_serial(serial: str, kind: DeviceType) -> None:
    """IAM shows the type of a device nowhere else."""
    assert Device(serial, "alice").type is kind


@pytest.mark.parametrize(
    ("arn", "user", "name"),
    [
        ("arn:aws:iam::123456789012:user/alice", "alice", "alice"),
        ("arn:aws:iam::123456789012:user/team/alice", "alice", "alice"),
        ("arn:aws:sts::123456789012:assumed-role/admin/alice", None, "admin/alice"),
        ("arn:aws:iam::123456789012:root", None, "root"),
        ("arn:aws:sts::123456789012:federated-user/alice", None, "federated-user/alice"),
    ],
)
def test_the_types_of_callers(arn: str, user: str | None, name: str) -> None:
    """Only users have their own MFA devices. Every caller has a name for messages."""
    caller = Caller("123456789012", arn)
    assert (caller.user, caller.name) == (user, name)


def test_the_partition_is_that_of_the_caller() -> None:
    """No partition is hard-coded."""
    assert Caller("1", "arn:aws-cn:iam::1:user/a").partition == "aws-cn"


@given(ALLOWED.filter(lambda name: name != "root"), ALLOWED)
def test_names_that_iam_accepts_are_accepted(user: str, name: str) -> None:
    """All characters of IAM's pattern are accepted."""
    assert DeviceSpec(**{**ALICE, "user": user, "name": name}).serial.endswith(f":mfa/{name}")


@pytest.mark.parametrize("user", ["", "a b", "a/b", "ä", "a" * 65, "a\n", "a*", "../a", "\x1b[31m", "alice\u202e"])
def test_user_names_that_iam_refuses_are_refused(user: str) -> None:
    """The names are refused before a request is made, because botocore checks only lengths."""
    with pytest.raises(UsageFault, match="is not an IAM user name"):
        models.check_user(user)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "é", "a" * 227, "a\n", "a:b", "٣"])
def test_device_names_that_iam_refuses_are_refused(name: str) -> None:
    """Only ASCII is accepted, because that is what IAM means by a word character."""
    with pytest.raises(UsageFault, match="is not a name that IAM accepts"):
        DeviceSpec(**{**ALICE, "name": name})


@pytest.mark.parametrize("path", ["", "a", "/a", "a/", "//", "/a b/", "/é/", "/" + "a" * 511 + "/", "/a\n/", "/a/\n"])
def test_paths_that_iam_refuses_are_refused(path: str) -> None:
    """Paths begin and end with a slash and have at most 512 characters."""
    with pytest.raises(UsageFault, match="is not a path that IAM accepts"):
        DeviceSpec(**{**ALICE, "path": path})


@pytest.mark.parametrize(
    ("path", "serial"),
    [
        ("/", "arn:aws:iam::123456789012:mfa/alice"),
        ("/desk/", "arn:aws:iam::123456789012:mfa/desk/alice"),
        ("/" + "a" * 510 + "/", "arn:aws:iam::123456789012:mfa/" + "a" * 510 + "/alice"),
    ],
)
def test_the_serial_is_the_arn_that_iam_will_give(path: str, serial: str) -> None:
    """The serial is known in advance, so the device can be looked up before Create has answered."""
    assert DeviceSpec(**{**ALICE, "path": path}).serial == serial


def test_the_error_for_root_names_the_console() -> None:
    """AWS has no API for root's devices."""
    with pytest.raises(UsageFault, match="no API to enroll root") as caught:
        models.check_user("root")
    assert "console" in caught.value.hint


@pytest.mark.parametrize(
    "serial",
    [
        "arn:aws:iam::123456789012:mfa/alice",
        "arn:aws:iam::123456789012:mfa/a/b/alice",
        "arn:aws:iam::123456789012:u2f/user/alice/key-ABC",
        "GAHT12345678",
    ],
)
def test_the_intent_behind_a_device_has_its_serial(serial: str) -> None:
    """A device of any type keeps its serial, which shows the type."""
    spec = models.intent_of(serial, user="alice", account="123456789012", partition="aws")
    assert spec.serial == serial
    assert spec.method.device_type is DeviceType.of(serial)


@given(st.integers(0, 2**33), st.binary(min_size=4, max_size=4))
def test_a_run_id_contains_its_time(at: int, random: bytes) -> None:
    """A run ID is the UTC time to the second, then eight hex digits. So run IDs sort by time."""
    run = models.run_id(at, random)
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", run)
    assert models.run_time(run) == at
    assert JournalEntry(run=run, spec=DeviceSpec(**ALICE)).began == at
    assert models.run_id(at + 1, b"\0\0\0\0") > run


@pytest.mark.parametrize(
    "text", ["", "today", "20261125T000000", "20261340T000000Z-00000000", "20261125T000000Z-../../x"]
)
def test_a_text_that_is_not_a_run_id_has_no_time(text: str) -> None:
    """A tag may contain any text."""
    with pytest.raises(ValueError, match=r"not a run ID|does not match"):
        models.run_time(text)


def test_an_entry_keeps_everything_but_its_stage() -> None:
    """`at` changes only the stage of an entry."""
    entry = JournalEntry(run="r", spec=DeviceSpec(**ALICE), backup="b", answered_here=True)
    later = entry.at(JournalState.CREATED)
    assert later == JournalEntry(run="r", spec=entry.spec, backup="b", answered_here=True, reached=JournalState.CREATED)


@pytest.mark.parametrize(
    "text", ["", ".", "x", "/", "/x", "a/b/c", "s3://bucket", "s3://bucket/a", "s3://bucket/a/b/c/d"]
)
def test_a_damaged_path_has_a_copy_too(text: str) -> None:
    """A ledger or a record that somebody has changed may have any path, and its reader refuses it later."""
    location = models.recorded_location(text)
    assert type(models.own_copy(location)) is type(location)
