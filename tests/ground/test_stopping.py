"""Tests of a Ctrl-C whose exception a library swallowed: it is raised again, with the notes of the error at hand."""

import signal
from concurrent.futures import Future
from datetime import UTC, datetime

import pytest
from awscrt import auth
from awscrt.http import HttpHeaders, HttpRequest

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.stopping import Interrupts


def lose(interrupts: Interrupts) -> None:
    """Press Ctrl-C, and swallow the exception."""
    with pytest.raises(KeyboardInterrupt):
        interrupts.arrive(2, None)


def test_a_lost_interrupt_is_raised_again_until_it_is_known() -> None:
    interrupts = Interrupts()
    interrupts.check()
    interrupts.end()
    lose(interrupts)
    for again in (interrupts.check, interrupts.find_spec, interrupts.end):
        with pytest.raises(KeyboardInterrupt):
            again()
    interrupts.forget()
    interrupts.check()
    interrupts.find_spec()
    interrupts.end()


def test_a_lost_interrupt_gets_the_notes_of_the_error() -> None:
    """The notes of the error's cause count too."""
    interrupts = Interrupts()
    lose(interrupts)
    error, cause = UsageFault("second", "try"), UsageFault("first", "try")
    error.add_note("of the error")
    cause.add_note("of the cause")

    def fail() -> None:
        try:
            raise error from cause
        except UsageFault:
            interrupts.end()

    with pytest.raises(KeyboardInterrupt) as raised:
        fail()
    assert raised.value.__notes__ == ["of the error", "of the cause"]


def test_cleaning_up_is_not_ended_by_a_lost_interrupt() -> None:
    """It is raised afterward."""
    interrupts = Interrupts()
    lose(interrupts)
    with interrupts.settling():
        interrupts.check()
    with pytest.raises(KeyboardInterrupt):
        interrupts.check()


def test_ctrl_c_lets_a_signature_be_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise botocore waits forever for the callback of awscrt. Ctrl-C counts afterward."""
    interrupts = Interrupts()

    class Pressed(Future[HttpRequest]):
        def set_result(self, result: HttpRequest) -> None:
            signal.raise_signal(signal.SIGINT)
            super().set_result(result)

    monkeypatch.setattr(auth, "Future", Pressed)
    keys = auth.AwsCredentialsProvider.new_static(access_key_id="AKIA", secret_access_key="none")
    signing = auth.AwsSigningConfig(
        algorithm=auth.AwsSigningAlgorithm.V4,
        signature_type=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
        credentials_provider=keys,
        region="us-east-1",
        service="iam",
        date=datetime.now(UTC),
    )
    request = HttpRequest("POST", "/", HttpHeaders([("host", "localhost")]))
    before = signal.signal(signal.SIGINT, interrupts.arrive)
    try:
        assert auth.aws_sign_request(request, signing).result(10) is request
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(KeyboardInterrupt):
        interrupts.check()
