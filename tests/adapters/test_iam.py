"""Tests of IAM over boto3 against the lab over HTTP: AWS's errors become mfa-kit's, and a write is attempted once."""

import base64
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import ClientError, SSLError
from botocore.parsers import ResponseParserError
from botocore.utils import parse_timestamp

from mfa_kit.adapters.aws import iam as module
from mfa_kit.adapters.aws.answers import CODES, our_errors, pages
from mfa_kit.adapters.aws.clients import Connection, moment
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.core import errors, otp
from mfa_kit.core.errors import (
    AccessDenied,
    AlreadyExists,
    AwsFault,
    Expired,
    IntegrityFault,
    MfaKitError,
    OutcomeUnknownError,
    Throttled,
    UsageFault,
)
from mfa_kit.core.models import RUN_TAG, Call, DeviceSpec, RunTag
from mfa_kit.core.otp import KeyUri, Pair, Png, Seed
from mfa_kit.lab.aws.server import Lab
from mfa_kit.qr_codes import key_uri, symbol

ADMIN = "arn:aws:iam::000000000000:user/lab-admin"


class Desk:
    """An adapter that records its calls and counts its waits."""

    def __init__(self, **how: Any) -> None:
        self.calls: list[Call] = []
        self.slept: list[float] = []
        self.iam = Iam(observe=self.calls.append, sleep=self.slept.append, connection=Connection(**how))


@pytest.fixture
def desk(at_lab: Lab) -> Desk:
    return Desk(endpoint_url=at_lab.url)


def spec(user: str, **how: Any) -> DeviceSpec:
    return DeviceSpec(**{"account": "000000000000", "partition": "aws", "user": user, "name": user, **how})


def codes_of(created: otp.Created, later: int = 0) -> Pair:
    return otp.pair(created.seed, time.time() + later)


def made(desk: Desk, user: str, **tags: str) -> otp.Created:
    return desk.iam.create(spec(user), tags)


def test_the_caller_is_returned(desk: Desk) -> None:
    """STS returns the caller, through the same endpoint."""
    caller = desk.iam.caller()
    assert (caller.account, caller.arn, caller.user) == ("000000000000", ADMIN, "lab-admin")


def test_a_device_is_created_enabled_used_and_deleted(desk: Desk, user: str, at_lab: Lab) -> None:
    """Each write is made once, and each read returns the new state."""
    serial = spec(user).serial
    assert desk.iam.devices(user) == []
    assert desk.iam.run_of(serial) is RunTag.ABSENT
    created = made(desk, user, **{RUN_TAG: "20261125T000000Z-00000001"})
    assert created.seed == Seed(at_lab.seed(serial))
    assert serial in desk.iam.unassigned()
    assert desk.iam.tags(serial) == {RUN_TAG: "20261125T000000Z-00000001"}
    assert desk.iam.run_of(serial) == "20261125T000000Z-00000001"
    began = int(time.time())
    desk.iam.enable(spec(user), lambda: codes_of(created))
    [device] = desk.iam.devices(user)
    assert (device.serial, device.user) == (serial, user)
    assert began <= (device.since or 0) <= time.time()
    assert serial not in desk.iam.unassigned()
    desk.iam.resync(user, serial, lambda: codes_of(created, later=60))
    desk.iam.deactivate(user, serial)
    desk.iam.delete(serial)
    assert desk.iam.run_of(serial) is RunTag.ABSENT
    assert [call.operation for call in desk.calls] == [
        "CreateVirtualMFADevice",
        "EnableMFADevice",
        "ResyncMFADevice",
        "DeactivateMFADevice",
        "DeleteVirtualMFADevice",
    ]
    assert desk.slept == []


def test_the_uri_is_the_one_in_the_picture_that_aws_sends(desk: Desk, user: str) -> None:
    """It contains AWS's own label."""
    created = made(desk, user)
    assert key_uri.seed_of(created.uri) == created.seed
    assert key_uri.parse(created.uri).label == f"Amazon Web Services:{user}@000000000000"


def test_a_picture_of_another_seed_is_refused(desk: Desk, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the user would scan a code that cannot work."""
    monkeypatch.setattr(symbol, "read", lambda _: key_uri.otpauth(Seed(bytes(40)), label="x@1"))
    with pytest.raises(IntegrityFault, match="has one secret as text and another in the QR code"):
        made(desk, user)


def test_a_seed_that_is_not_base32_is_an_error(desk: Desk, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An IAM other than AWS's may send anything. The error does not contain the text."""
    monkeypatch.setattr("mfa_kit.lab.aws.mfa_devices.new_base32_seed", lambda: "0189" * 16)
    with pytest.raises(IntegrityFault, match="is not base32") as told:
        made(desk, user)
    assert "0189" not in f"{told.value}{told.value.hint}"


def test_an_empty_seed_is_an_error(desk: Desk, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone can compute the codes of an empty secret."""
    monkeypatch.setattr("mfa_kit.lab.aws.mfa_devices.new_base32_seed", lambda: "")
    with pytest.raises(IntegrityFault, match="is not base32"):
        made(desk, user)


def test_without_a_picture_an_equivalent_uri_is_made(desk: Desk, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An IAM other than AWS's may send octets that are not a picture."""
    real = symbol.read
    monkeypatch.setattr(symbol, "read", lambda _: real(Png(b"none")))
    created = made(desk, user)
    assert created.uri == key_uri.otpauth(created.seed, label=f"{user}@000000000000")


def test_each_write_is_reported_with_its_request_id(desk: Desk, user: str) -> None:
    """With the request ID, the request is found in CloudTrail, also if it was refused."""
    made(desk, user)
    with pytest.raises(AlreadyExists):
        made(desk, user)
    assert [(call.operation, call.user, call.serial, call.answer) for call in desk.calls] == [
        ("CreateVirtualMFADevice", user, spec(user).serial, "OK"),
        ("CreateVirtualMFADevice", user, spec(user).serial, "AlreadyExists"),
    ]
    first, second = (call.request_id for call in desk.calls)
    assert first
    assert second
    assert first != second


def test_an_interrupted_write_is_not_reported_as_done(desk: Desk, user: str) -> None:
    """It is unknown whether the write took effect."""

    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    desk.iam._clients.iam.meta.events.register("before-send.iam", interrupt)  # noqa: SLF001 - botocore's own seam
    with pytest.raises(KeyboardInterrupt):
        desk.iam.delete(spec(user).serial)
    assert [call.answer for call in desk.calls] == ["Unclear"]


def test_a_write_without_a_response_has_no_request_id(desk: Desk, user: str, at_lab: Lab) -> None:
    """The request ID of an earlier call is not used either."""
    desk.iam.caller()
    at_lab.faults.add("CreateVirtualMFADevice", "lost-after")
    with pytest.raises(errors.OutcomeUnknownError):
        made(desk, user)
    assert [(call.answer, call.request_id) for call in desk.calls] == [("Unclear", None)]


def refused(desk: Desk, user: str, other: str) -> Iterator[tuple[type[MfaKitError], str, Any]]:
    """Yield each request that IAM refuses, with mfa-kit's error and a word of its message."""
    yield errors.NoSuchEntity, "nobody", lambda: desk.iam.devices("nobody")
    yield errors.NoSuchEntity, "NoSuchEntity", lambda: desk.iam.delete("arn:aws:iam::000000000000:mfa/none")
    yield errors.NoSuchEntity, "NoSuchEntity", lambda: desk.iam.deactivate(user, spec(user).serial)
    created = made(desk, user)
    yield (
        errors.InvalidCode,
        "InvalidAuthenticationCode",
        lambda: desk.iam.enable(spec(user), lambda: Pair("000000", "000001")),
    )
    desk.iam.enable(spec(user), lambda: codes_of(created))
    yield AlreadyExists, "EntityAlreadyExists", lambda: desk.iam.enable(spec(user), lambda: codes_of(created, 60))
    yield errors.Conflict, "DeleteConflict", lambda: desk.iam.delete(spec(user).serial)
    full = [desk.iam.create(spec(other, name=f"{other}-{number}"), {}) for number in range(9)]
    for number in range(8):
        desk.iam.enable(spec(other, name=f"{other}-{number}"), lambda n=number: codes_of(full[n]))  # type: ignore[misc]
    yield (
        AwsFault,
        "LimitExceeded",
        lambda: desk.iam.enable(spec(other, name=f"{other}-8"), lambda: codes_of(full[8])),
    )


def test_an_error_of_iam_becomes_an_mfa_kit_error(desk: Desk, users: Any, at_lab: Lab) -> None:
    """The error has one sentence with IAM's code and in most cases a hint. Each case makes one request."""
    for kind, word, act in refused(desk, users(), users()):
        before = len(at_lab.calls)
        with pytest.raises(kind, match=word) as caught:
            act()
        assert type(caught.value) is kind
        assert str(caught.value).startswith("AWS answers ")
        assert not str(caught.value).endswith(".")
        assert caught.value.__cause__ is None
        assert len(at_lab.calls) == before + 1


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ("denied", AccessDenied, 4),
        ("throttle", Throttled, 7),
        ("expired", Expired, 4),
        ("error-before", errors.OutcomeUnknownError, 4),
        ("error-after", errors.OutcomeUnknownError, 4),
        ("lost-before", errors.OutcomeUnknownError, 4),
        ("lost-after", errors.OutcomeUnknownError, 4),
    ],
)
def test_a_write_is_one_attempt(
    fault: str, kind: type[MfaKitError], code: int, desk: Desk, user: str, at_lab: Lab
) -> None:
    """After a fault the caller decides whether to try again, because a second attempt needs new codes."""
    at_lab.faults.add("CreateVirtualMFADevice", fault, at="every")
    before = len(at_lab.calls)
    with pytest.raises(kind) as caught:
        made(desk, user)
    assert type(caught.value) is kind
    assert caught.value.exit_code == code
    assert caught.value.hint
    assert len(at_lab.calls) == before + 1
    assert desk.slept == []


@pytest.mark.parametrize("fault", ["throttle", "error-before", "lost-before", "lost-after"])
def test_a_read_is_tried_again(fault: str, desk: Desk, user: str, at_lab: Lab) -> None:
    """Reading twice is harmless. After some attempts the read is given up."""
    at_lab.faults.add("ListMFADevices", fault)
    assert desk.iam.devices(user) == []
    assert desk.slept == [0.5]
    at_lab.faults.add("ListMFADevices", fault, at="every")
    before = len(at_lab.calls)
    with pytest.raises((Throttled, errors.OutcomeUnknownError)):
        desk.iam.devices(user)
    assert len(at_lab.calls) == before + 6


@pytest.mark.parametrize("fault", ["denied", "expired"])
def test_a_read_that_is_refused_is_not_tried_again(fault: str, desk: Desk, user: str, at_lab: Lab) -> None:
    """A second request would be refused too."""
    at_lab.faults.add("ListMFADevices", fault)
    with pytest.raises(AwsFault):
        desk.iam.devices(user)
    assert desk.slept == []


def test_tags_that_cannot_be_read_count_as_absent(desk: Desk, user: str, at_lab: Lab) -> None:
    """Such tags prove nothing."""
    made(desk, user, **{RUN_TAG: "20261125T000000Z-00000001"})
    at_lab.faults.add("ListMFADeviceTags", "denied")
    assert desk.iam.run_of(spec(user).serial) is RunTag.UNTAGGED


def test_a_device_without_a_run_is_untagged(desk: Desk, user: str) -> None:
    """Other tags of the device do not matter."""
    made(desk, user, team="blue")
    assert desk.iam.run_of(spec(user).serial) is RunTag.UNTAGGED


@pytest.mark.parametrize("claim", ["../../.ssh/known_hosts", "20261125T000000Z-../../x", "20261125T000000Z-0000000G"])
def test_a_tag_that_is_not_a_run_id_is_ignored(claim: str, desk: Desk, user: str) -> None:
    """A run ID is part of file names, and anyone who may tag a device can write any value."""
    made(desk, user, **{RUN_TAG: claim})
    assert desk.iam.run_of(spec(user).serial) is RunTag.UNTAGGED


@pytest.mark.parametrize("seconds", [-250, 100])
def test_the_clock_is_that_of_aws(seconds: int, desk: Desk, at_lab: Lab) -> None:
    """The offset comes from the Date header of the last answer, in whole seconds and delayed by the network."""
    at_lab.faults.add("*", "clock", seconds=seconds)
    began = time.time()
    desk.iam.caller()
    slow = time.time() - began
    assert -slow - 0.51 < desk.iam.offset() - seconds < 0.51
    began, now, ended = time.time(), desk.iam.now(), time.time()
    assert began - 0.01 < now - desk.iam.offset() < ended + 0.01


def test_an_offset_below_the_resolution_of_the_header_is_zero(desk: Desk) -> None:
    """The header has whole seconds, and the response needed time on the network."""
    # On a slow computer an answer may take long to arrive.
    for _ in range(20):
        desk.iam.caller()
        if desk.iam.offset() == 0:
            break
    assert desk.iam.offset() == 0


def test_a_response_without_a_date_does_not_change_the_clock(
    desk: Desk, at_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last known offset stays."""
    at_lab.faults.add("*", "clock", seconds=100)
    desk.iam.caller()
    before = desk.iam.offset()
    assert before
    monkeypatch.setattr("mfa_kit.lab.aws.server.formatdate", lambda *_, **__: "yesterday")
    desk.iam.caller()
    assert desk.iam.offset() == before


def test_a_response_that_takes_too_long_is_unclear(user: str, at_lab: Lab) -> None:
    """The request may have taken effect."""
    desk = Desk(read_timeout=0.2)
    at_lab.faults.add("CreateVirtualMFADevice", "latency", seconds=0.5)
    before = len(at_lab.calls)
    with pytest.raises(errors.OutcomeUnknownError, match="no answer from AWS"):
        made(desk, user)
    # The request takes effect although its answer was given up.
    while len(at_lab.calls) == before:
        time.sleep(0.02)
    assert spec(user).serial in at_lab.serials()


@pytest.mark.parametrize(
    "address", ["http://iam.amazonaws.com", "http://192.0.2.1:80", "http://10.0.0.1", "http://lab"]
)
@pytest.mark.usefixtures("at_lab")
def test_plain_http_is_for_loopback_only(address: str) -> None:
    """For any other host, secrets would be sent unencrypted."""
    with pytest.raises(UsageFault, match="is not encrypted") as caught:
        Desk(endpoint_url=address)
    assert "https" in caught.value.hint


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "https://192.0.2.1"])
@pytest.mark.usefixtures("at_lab")
def test_loopback_and_https_are_accepted(address: str) -> None:
    """The check makes no request."""
    assert Desk(endpoint_url=address).iam.endpoint_url == address


@pytest.mark.parametrize("address", ["lab", "127.0.0.1:5000", "http://", "http://[::1", "http:///path"])
@pytest.mark.usefixtures("at_lab")
def test_a_text_that_is_not_an_address_is_refused(address: str) -> None:
    """The error is a usage fault, because the user gave the address."""
    with pytest.raises(UsageFault) as caught:
        Desk(endpoint_url=address)
    assert caught.value.hint


@pytest.mark.usefixtures("at_lab")
def test_a_closed_port_is_a_clear_fault(user: str) -> None:
    """Nothing was sent, so nothing can have taken effect."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        desk = Desk(endpoint_url=f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(AwsFault, match="cannot be reached") as caught:
            made(desk, user)
    assert type(caught.value) is AwsFault
    assert "network" in caught.value.hint


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1006)", AwsFault),
        ("EOF occurred in violation of protocol (_ssl.c:2426)", errors.OutcomeUnknownError),
    ],
    ids=["certificate", "broken"],
)
def test_a_tls_error_may_come_after_a_request(said: str, kind: type[MfaKitError]) -> None:
    """If the certificate is refused, no request was sent. OpenSSL's message shows which failure it was."""
    with pytest.raises(kind) as caught, our_errors():
        raise SSLError(endpoint_url="https://iam.amazonaws.com", error=OSError(said))
    assert type(caught.value) is kind


def test_govcloud_without_its_region_says_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commercial endpoint does not know keys of GovCloud."""
    with Lab(region="us-gov-west-1") as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_REGION")
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        with pytest.raises(AwsFault, match="InvalidClientTokenId") as caught:
            Desk().iam.caller()
        assert "--region" in caught.value.hint
        assert Desk(region="us-gov-west-1").iam.caller().partition == "aws-us-gov"


def test_renewed_credentials_that_have_expired_too_are_named() -> None:
    """For them, botocore raises a plain RuntimeError, which is known only by its words."""
    old = {"access_key": "a", "secret_key": "b", "token": "c", "expiry_time": "2020-01-01T00:00:00Z"}
    credentials = RefreshableCredentials.create_from_metadata(old, refresh_using=lambda: old, method="test")
    with pytest.raises(Expired, match="have expired and were not renewed"), our_errors():
        credentials.get_frozen_credentials()


@pytest.mark.parametrize("last", [{"IsTruncated": True, "Marker": "again"}, {"IsTruncated": True}])
def test_a_listing_without_an_end_is_an_error(last: Any, desk: Desk) -> None:
    """The last page names itself as the next one, or says that there is more and names no next page."""
    with pytest.raises(AwsFault, match="a page without a new marker"):
        list(pages(desk.iam.ask, lambda _iam, _start: last))


@pytest.mark.usefixtures("at_lab")
def test_an_invalid_region_is_a_usage_error() -> None:
    """The error comes before any request."""
    with pytest.raises(UsageFault, match="'no region!' doesn't match") as caught:
        Desk(region="no region!")
    assert "--region" in caught.value.hint


@pytest.mark.parametrize("missing", ["credentials", "profile"])
@pytest.mark.usefixtures("at_lab")
def test_what_botocore_cannot_find_is_an_error(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint says what to give, and needs no other program."""
    how = {"profile": "none"} if missing == "profile" else {}
    if missing == "credentials":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(AwsFault) as caught:
        Desk(**how).iam.caller()
    assert type(caught.value) is AwsFault
    assert "--profile NAME" in caught.value.hint
    assert caught.value.hint.endswith("; see: mfa-kit help credentials")


@pytest.mark.usefixtures("at_lab")
def test_a_wrong_secret_key_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint says that a wrong clock may be the reason, too."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong" * 8)
    with pytest.raises(AwsFault, match="SignatureDoesNotMatch") as caught:
        Desk().iam.caller()
    assert "clock" in caught.value.hint


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_the_table_has_its_class_and_exit_code(code: str) -> None:
    """Some services append Exception to the name."""
    for name in (code, f"{code}Exception"):
        answer: Any = {"Error": {"Code": name, "Message": "It is so."}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        with pytest.raises(MfaKitError, match="It is so") as caught, our_errors():
            raise ClientError(answer, "X")
        assert type(caught.value) is CODES[code][0]
        assert caught.value.exit_code in {4, 7}


@pytest.mark.parametrize(
    ("status", "kind"), [(400, AwsFault), (500, errors.OutcomeUnknownError), (503, errors.OutcomeUnknownError)]
)
def test_an_unknown_error_code_is_shown_unchanged(status: int, kind: type[MfaKitError]) -> None:
    """If the status is 500 or more, the request may have taken effect."""
    answer: Any = {"Error": {"Code": "Odd"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with pytest.raises(kind, match=r"AWS answers Odd: \(no message\)") as caught, our_errors():
        raise ClientError(answer, "X")
    assert type(caught.value) is kind
    assert caught.value.hint


@pytest.mark.usefixtures("at_lab")
def test_loggers_of_request_bodies_are_disabled(user: str, caplog: pytest.LogCaptureFixture) -> None:
    """Their earlier level does not matter, and loggers that already exist below them are disabled too."""
    names = ("botocore", "botocore.parsers", "botocore.endpoint", "urllib3", "urllib3.connectionpool", "boto3")
    before = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.DEBUG)
        caplog.set_level(0)
        desk = Desk()
        assert all(not logging.getLogger(name).isEnabledFor(logging.DEBUG) for name in names)
        created = made(desk, user)
        written = base64.b32encode(created.seed.reveal()).decode()
        assert any(record.name == module.__name__ for record in caplog.records)
        assert written not in caplog.text
        low = {record.name.partition(".")[0] for record in caplog.records if record.levelno < logging.INFO}
        assert not low & {"boto3", "botocore", "urllib3"}
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def test_the_log_has_operations_and_request_ids(desk: Desk, user: str, caplog: pytest.LogCaptureFixture) -> None:
    """The log is the output of --debug."""
    caplog.set_level(logging.DEBUG, module.__name__)
    made(desk, user)
    assert f"CreateVirtualMFADevice answered 200, request {desk.calls[0].request_id}" in caplog.text


def test_the_endpoint_of_another_iam_is_read_from_the_profile(
    at_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 reads the endpoint from the profile in the shared configuration."""
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    lines = "\n".join(f"{key.lower()} = {at_lab.env[key]}" for key in keys)
    (tmp_path / "credentials").write_text(f"[desk]\n{lines}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for key in keys:
        monkeypatch.delenv(key)
    assert Desk(profile="desk").iam.caller().arn == ADMIN


@pytest.mark.parametrize(
    "said",
    [
        "2026-01-01T00:00:00Z",
        "2026-02-28T23:59:59.123Z",
        "2026-01-01T02:00:00+02:00",
        "2026-01-01T00:00:00",
        "Thu, 01 Jan 2026 00:00:00 GMT",
        "1767225600",
        "20260101",
        1767225600,
        1767225600.5,
    ],
)
def test_a_time_is_read_as_botocore_reads_it(said: Any) -> None:
    assert moment(said) == parse_timestamp(said)


@pytest.mark.parametrize(
    "said", ["soon", "", None, "1e999", "inf", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]
)
def test_a_response_with_an_invalid_time_is_not_read(said: Any) -> None:
    with pytest.raises(ResponseParserError, match="has an invalid time"):
        moment(said)


def test_a_secret_uri_is_not_printed(desk: Desk, user: str) -> None:
    """Logging the result of create by mistake is harmless."""
    created = made(desk, user)
    assert repr(created) == "Created(seed=Seed(…), uri=KeyUri(…))"
    assert isinstance(created.uri, KeyUri)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "InvalidAction"),
        (400, "UnknownOperationException"),
        (501, "NotImplemented"),
        (400, "UnsupportedOperation"),
        (500, "<!doctype html>"),
    ],
)
def test_a_server_without_device_tags_counts_as_unreadable_tags(at_lab: Lab, status: int, code: str) -> None:
    """Servers other than AWS lack ListMFADeviceTags. There, a device is identified by the time of its creation.

    The request is not repeated, because the answer would be the same for each device.
    """
    answer = f"<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
    if code.startswith("<"):
        answer = f"{code}\n<title>500 Internal Server Error</title>"  # of moto
    slept: list[float] = []
    iam = Iam(observe=lambda _: None, sleep=slept.append)

    def lacks(**_: object) -> Any:
        return AWSResponse(
            at_lab.url, status, HTTPHeaders(), SimpleNamespace(stream=lambda **_: iter([answer.encode()]))
        )

    iam.ask(lambda client: client.meta.events.register("before-send.iam.ListMFADeviceTags", lacks))
    with pytest.raises(AccessDenied, match="tags cannot be read"):
        iam.tags("arn:aws:iam::000000000000:mfa/any")
    assert iam.run_of("arn:aws:iam::000000000000:mfa/any") is RunTag.UNTAGGED
    assert slept == []


def test_a_page_of_html_from_aws_says_nothing_about_tags(at_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes from a proxy, and the next answer may be AWS's."""
    iam = Iam(observe=lambda _: None, sleep=lambda _: None)
    raw = SimpleNamespace(stream=lambda **_: iter([b"<!doctype html>\n<title>Sign in</title>"]))
    answer = AWSResponse(at_lab.url, 500, HTTPHeaders(), raw)

    def pose(**_: object) -> Any:
        return answer

    iam.ask(lambda client: client.meta.events.register("before-send.iam.ListMFADeviceTags", pose))
    monkeypatch.setattr(Iam, "is_aws", True)
    with pytest.raises(OutcomeUnknownError, match="cannot be parsed"):
        iam.run_of("arn:aws:iam::000000000000:mfa/any")


def test_credentials_of_another_account_are_not_used(at_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a new sign-in to the wrong account, other threads keep using their earlier credentials."""
    iam = Iam(observe=lambda _: None, sleep=lambda _: None)
    before = iam.caller().account
    with Lab(accounts=1) as other:
        for name, value in other.env.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(Expired, match="now belong to account"):
            iam.renew("111111111111")
        assert iam.endpoint_url == at_lab.env["AWS_ENDPOINT_URL"]
    assert iam.caller().account == before
