"""The checks of a request before its operation runs: the access key, the signature, the clock, the service model."""

import re
import socket
import urllib.request
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws.server import Lab
from tests.lab.client import Aws, refused


def test_only_keys_of_the_lab_are_accepted(admin: Aws, lab: Lab) -> None:
    """Unknown, inactive and deleted keys give InvalidClientTokenId. A wrong secret gives SignatureDoesNotMatch."""
    with refused("InvalidClientTokenId", "The security token included in the request is invalid."):
        Aws(lab, ("AKIAIOSFODNN7EXAMPLE", "x", None)).iam.list_users()
    with refused("SignatureDoesNotMatch"):
        Aws(lab, (admin.keys[0], "x", None)).iam.list_users()
    alice = admin.user("alice")
    assert alice.sts.get_caller_identity()
    admin.iam.update_access_key(UserName="alice", AccessKeyId=alice.keys[0], Status="Inactive")
    with refused("InvalidClientTokenId"):
        alice.sts.get_caller_identity()
    admin.iam.delete_access_key(UserName="alice", AccessKeyId=alice.keys[0])
    with refused("InvalidClientTokenId"):
        alice.sts.get_caller_identity()


def test_the_server_listens_on_loopback_only(lab: Lab) -> None:
    """/proc/net/tcp (proc(5)) shows loopback as the only address that listens on the lab's port."""
    port = f"{int(lab.url.rpartition(':')[2]):04X}"
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/self/net/{table}").read_text("ascii").splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{port}")
    ]
    assert listening == [f"0100007F:{port}"]


def test_an_unsigned_request_is_refused(lab: Lab) -> None:
    """A web page can send an unsigned request but cannot read the response, which has no CORS header."""
    request = urllib.request.Request(lab.url, data=b"Action=ListUsers&Version=2010-05-08")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as answer:
        assert (answer.code, answer.headers["Access-Control-Allow-Origin"]) == (403, None)


def test_a_request_to_s3_needs_an_access_key_of_the_lab(lab: Lab) -> None:
    """Moto's S3 answers everybody."""
    client = Aws(lab, ("AKIAIOSFODNN7EXAMPLE", "x", None)).client("s3")
    with refused("InvalidAccessKeyId"):
        client.list_buckets()
    with pytest.raises(urllib.error.HTTPError, match="403") as caught:
        urllib.request.urlopen(lab.url)
    caught.value.close()


def test_an_incomplete_signature_is_refused(lab: Lab) -> None:
    """The Authorization header must be complete."""
    headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/iam/aws4_request"}
    request = urllib.request.Request(lab.url, data=b"Action=ListUsers&Version=2010-05-08", headers=headers)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as answer:
        assert b"IncompleteSignature" in answer.read()


def test_a_signature_without_a_usable_date_is_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signature is right, but IAM cannot read the date."""
    monkeypatch.setattr(botocore.auth, "SIGV4_TIMESTAMP", "%Y%m%d")
    signed = AWSRequest("POST", lab.url, data=b"Action=ListUsers&Version=2010-05-08")
    keys = Credentials(lab.env["AWS_ACCESS_KEY_ID"], lab.env["AWS_SECRET_ACCESS_KEY"])
    botocore.auth.SigV4Auth(keys, "iam", "us-east-1").add_auth(signed)
    request = urllib.request.Request(lab.url, data=signed.data, headers=dict(signed.headers.items()))
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as answer:
        assert re.search(rb"IncompleteSignature.*ISO-8601 'basic format'", answer.read(), re.DOTALL)


def test_every_response_has_a_date_and_a_request_id(admin: Aws, lab: Lab) -> None:
    """Both are headers. The request ID is also in the body, even of an error, in the wire format of the service."""
    meta = admin.iam.list_users()["ResponseMetadata"]
    assert parsedate_to_datetime(meta["HTTPHeaders"]["date"]).timestamp() == int(lab.account.now())
    assert meta["RequestId"] == meta["HTTPHeaders"]["x-amzn-requestid"]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", meta["RequestId"])
    client = admin.iam
    with pytest.raises(client.exceptions.NoSuchEntityException) as caught:
        client.get_user(UserName="nobody")
    meta = caught.value.response["ResponseMetadata"]
    assert (meta["HTTPStatusCode"], "date" in meta["HTTPHeaders"], len(meta["RequestId"])) == (404, True, 36)


def test_operations_that_moto_lacks_are_errors_in_iams_format(admin: Aws) -> None:
    """The response is not an HTML page with a traceback."""
    with refused("NotImplemented"):
        admin.iam.list_delegation_requests()
    with refused("NotImplemented"):
        admin.client("sns", config=Config(retries={"total_max_attempts": 1})).list_topics()


def test_an_operation_that_iam_does_not_have(admin: Aws) -> None:
    """For an operation that IAM does not have, the error is InvalidAction and names the version in the request."""
    client = admin.client("iam", config=Config(retries={"total_max_attempts": 1}))

    def rename(params: dict[str, Any], **_: object) -> None:
        params["body"]["Action"] = "DanceTango"

    client.meta.events.register("before-call.iam.ListUsers", rename)
    with refused("InvalidAction", "Could not find operation DanceTango for version 2010-05-08"):
        client.list_users()


def test_an_exception_in_moto_is_iams_internal_failure(admin: Aws, capfd: pytest.CaptureFixture[str]) -> None:
    """The client gets a status of 500, and the lab prints the reason on stderr."""
    with refused("InternalFailure"):
        admin.iam.list_attached_user_policies(UserName="alice", Marker="no-number")
    assert "ValueError" in capfd.readouterr().err


def test_limits_of_the_model_are_checked(admin: Aws) -> None:
    """The service checks ranges, enums, lengths and required members, even if botocore does not."""
    free = admin.client("iam", config=Config(retries={"total_max_attempts": 1}, parameter_validation=False))
    for call, given in (
        (free.list_users, {"MaxItems": 1001}),
        (free.list_users, {"MaxItems": 0}),
        (free.list_virtual_mfa_devices, {"AssignmentStatus": "Lost"}),
        (free.delete_virtual_mfa_device, {}),
        (free.get_user, {"UserName": "a" * 129}),
        (free.get_user, {"UserName": ""}),
        (free.create_virtual_mfa_device, {"VirtualMFADeviceName": "a", "Tags": [{"Key": "k", "Value": ""}] * 51}),
    ):
        with refused("ValidationError"):
            call(**given)


def test_two_labs_in_one_process_are_separate() -> None:
    """Each lab has its own state, even if two run at the same time."""
    with Lab(("alice",)) as one, Lab(("bob",)) as other:
        first, second = (Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None)) for lab in (one, other))
        first.enrolled("alice")
        assert [user["UserName"] for user in second.iam.list_users()["Users"]] == ["bob", "lab-admin"]
        assert (len(one.serials()), len(other.serials())) == (1, 0)
        with refused("InvalidClientTokenId"):
            Aws(other, first.keys).iam.list_users()


def test_a_lab_listens_on_loopback_only(lab: Lab) -> None:
    """The lab's socket is bound to 127.0.0.1."""
    assert lab.server.socket.getsockname()[0] == "127.0.0.1"


def test_a_port_in_use_is_an_error_message() -> None:
    """The error is a usage error, and werkzeug does not end the process."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageFault, match=f"port {port} on 127.0.0.1 cannot be used: Address already in use"):
            Lab(port=port)


def test_calls_are_logged_without_codes(lab: Lab, admin: Aws) -> None:
    """The log has operations, access keys and errors, and nothing else from a request."""
    admin.enrolled("alice")
    with refused("EntityAlreadyExists"):
        admin.create("alice")
    assert [(call.operation, call.error) for call in lab.calls] == [
        ("CreateVirtualMFADevice", ""),
        ("EnableMFADevice", ""),
        ("CreateVirtualMFADevice", "EntityAlreadyExists"),
    ]
    assert {call.key for call in lab.calls} == {lab.admin.access_key_id}
