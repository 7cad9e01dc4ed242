"""Tests the control endpoint, which only a lab has."""

from typing import Any

import pytest

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.local_servers import VARIABLE, lab_variable
from mfa_kit.lab import remote
from mfa_kit.lab.aws.server import Lab
from tests.lab.client import Aws, refused


def _ask(lab: Lab, method: str, path: str, **payload: Any) -> Any:
    return remote.ask_lab(method, path, payload, env=lab.env)


def test_rules_are_added_listed_and_cleared(lab: Lab, admin: Aws) -> None:
    """A test in another process can add, list and clear faults like a test in the lab's process."""
    _ask(lab, "POST", "faults", operation="ListUsers", fault="denied", at="every")
    assert _ask(lab, "GET", "faults") == [{"operation": "ListUsers", "fault": "denied", "at": "every"}]
    with refused("AccessDenied"):
        admin.iam.list_users()
    _ask(lab, "DELETE", "faults")
    assert admin.iam.list_users()
    assert [call["error"] for call in _ask(lab, "GET", "calls")] == ["AccessDenied", ""]


def test_a_hardware_token_is_registered(lab: Lab, admin: Aws) -> None:
    """The endpoint accepts the seed of a hardware token. AWS gets such seeds from the manufacturer."""
    _ask(lab, "POST", "token", serial="GAHT12345678", seed="A" * 64)
    admin.iam.enable_mfa_device(UserName="alice", SerialNumber="GAHT12345678", **admin.pair(b"A" * 64))


def test_only_the_admin_may_use_the_control_endpoint(lab: Lab) -> None:
    """A request with a token that was derived from another secret key is refused."""
    with pytest.raises(UsageFault, match="secret key of lab-admin"):
        remote.ask_lab("GET", "faults", {}, env=lab.env | {VARIABLE: lab_variable(lab.url, "x")})


def test_invalid_requests_are_error_messages(lab: Lab) -> None:
    """Cases: an unknown fault, an unknown path, an unknown field, a missing field and a ninth device."""
    for method, path, payload, said in (
        ("POST", "faults", {"fault": "flood"}, "unknown fault 'flood'"),
        ("GET", "weather", {}, "does not know this request"),
        ("POST", "fido", {"user": "alice", "name": "k", "color": "red"}, "color"),
        ("POST", "token", {}, "serial"),
    ):
        with pytest.raises(UsageFault) as caught:
            _ask(lab, method, path, **payload)
        assert said in str(caught.value)
    for number in range(8):
        lab.register_fido("alice", f"k{number}")
    with pytest.raises(UsageFault, match="Cannot exceed quota"):
        _ask(lab, "POST", "fido", user="alice", name="k9")


def test_invalid_device_names_are_refused(lab: Lab) -> None:
    """A name that breaks IAM's pattern is refused. Two keys with the same name get different serials."""
    for name in ("", "a b", "a/b", "\x1b[2J", "schl\u00fcssel"):
        with pytest.raises(UsageFault, match="is not a valid device name"):
            _ask(lab, "POST", "fido", user="alice", name=name)
    assert _ask(lab, "POST", "fido", user="alice", name="k") != _ask(lab, "POST", "fido", user="alice", name="k")


def test_a_refusal_has_a_hint(lab: Lab) -> None:
    """A request that IAM would refuse also gets a hint."""
    with pytest.raises(UsageFault, match=r"The user with name nobody cannot be found\.") as caught:
        _ask(lab, "POST", "fido", user="nobody", name="k")
    assert caught.value.hint == "list the users of the lab: mfa-kit status"


def test_a_lab_that_ended_is_an_error_message() -> None:
    """No request is sent to an endpoint that is not a lab on loopback."""
    with Lab() as ended:
        env = ended.env
    with pytest.raises(UsageFault, match="the lab does not answer"):
        remote.ask_lab("GET", "faults", {}, env=env)
    with pytest.raises(UsageFault, match="there is no lab"):
        remote.ask_lab("GET", "faults", {}, env=env | {"AWS_ENDPOINT_URL": "https://iam.amazonaws.com"})
