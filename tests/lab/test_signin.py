"""The lab's federation endpoint, called as mfa-kit calls AWS's."""

import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.error import HTTPError
from urllib.parse import urlencode

import boto3
import pytest

from mfa_kit.adapters.aws import signin
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.core.errors import AwsFault
from mfa_kit.core.otp import Secret
from mfa_kit.enrollment import fido_console
from mfa_kit.lab.aws.server import Lab


def test_the_endpoint_refuses_credentials_of_get_session_token(at_lab: Lab) -> None:
    """As at AWS, these credentials get no sign-in token. A user's access keys get none either."""
    made = boto3.Session().client("sts").get_session_token()["Credentials"]
    session = {
        "sessionId": made["AccessKeyId"],
        "sessionKey": made["SecretAccessKey"],
        "sessionToken": made["SessionToken"],
    }
    with pytest.raises(AwsFault, match="returned no sign-in token: HTTP 400"):
        signin.console_address(
            f"{at_lab.url}/federation", Secret(json.dumps(session)), destination=f"{at_lab.url}/console/"
        )


def test_a_sign_in_token_works_once(at_lab: Lab) -> None:
    """The same address in a browser's history cannot be used again."""
    iam = Iam(observe=lambda _: None)
    policy = fido_console.session_policy(account="000000000000", partition="aws", user="dave")
    session = iam.console_session(user="dave", policy=policy, role=None)
    found = signin.console_address(f"{at_lab.url}/federation", session, destination=f"{at_lab.url}/console/x")
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with opener.open(found.reveal()) as answer:
        assert "federated-user/mfa-kit-dave" in answer.read().decode()
    with pytest.raises(HTTPError):
        opener.open(found.reveal())


def test_a_sign_in_without_a_password_is_recorded_without_mfa(at_lab: Lab) -> None:
    """CloudTrail user guide: MFAUsed of a federated user is always No."""
    iam = Iam(observe=lambda _: None)
    policy = fido_console.session_policy(account="000000000000", partition="aws", user="dave")
    session = iam.console_session(user="dave", policy=policy, role=None)
    found = signin.console_address(f"{at_lab.url}/federation", session, destination=f"{at_lab.url}/console/x")
    urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(found.reveal()).close()
    login = at_lab.account.history.all()[-1]
    assert (login["eventName"], login["userIdentity"]["type"]) == ("ConsoleLogin", "FederatedUser")
    assert login["additionalEventData"]["MFAUsed"] == "No"
    assert login["userIdentity"]["sessionContext"]["attributes"]["mfaAuthenticated"] == "false"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "Action=login&SigninToken=x&Destination=/console/",
        "Action=getSigninToken",
        "Action=getSigninToken&Session=[]",
        "Action=getSigninToken&Session=%7B%22sessionId%22:%22x%22,%22sessionToken%22:%22y%22%7D",
    ],
)
def test_invalid_requests_are_refused(at_lab: Lab, query: str) -> None:
    """The status is 400, as at AWS."""
    with pytest.raises(HTTPError, match="400"):
        urllib.request.urlopen(f"{at_lab.url}/federation?{query}")


def test_without_a_token_no_user_is_signed_in(at_lab: Lab) -> None:
    """With a token, the page in place of the console names the signed-in user."""
    before = [*at_lab.application.signin.seen_at_console]
    with urllib.request.urlopen(f"{at_lab.url}/console/x") as answer:
        assert "signed in as nobody" in answer.read().decode()
    assert at_lab.application.signin.seen_at_console == before


class Elsewhere(BaseHTTPRequestHandler):
    """Redirects each request to another path."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(302)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass


def test_a_redirect_of_the_endpoint_is_not_followed() -> None:
    """The request contains the session's keys, so it must not be sent to another address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        with pytest.raises(AwsFault, match="HTTP 302") as caught:
            signin.console_address(
                f"http://127.0.0.1:{server.server_port}/federation", Secret("canary-5839"), destination="x"
            )
        server.shutdown()
    assert len(Elsewhere.asked) == 1
    assert "canary" not in f"{caught.value} {caught.value.hint}"


def test_federated_users_have_no_session_duration(at_lab: Lab) -> None:
    """The endpoint accepts SessionDuration only for sessions of AssumeRole."""
    policy = fido_console.session_policy(account="000000000000", partition="aws", user="dave")
    session = Iam(observe=lambda _: None).console_session(user="dave", policy=policy, role=None)
    asked = {"Action": "getSigninToken", "Session": session.reveal()}
    with urllib.request.urlopen(f"{at_lab.url}/federation?{urlencode(asked)}") as answer:
        assert json.load(answer)["SigninToken"]
    with pytest.raises(HTTPError) as caught:
        urllib.request.urlopen(f"{at_lab.url}/federation?{urlencode({**asked, 'SessionDuration': 900})}")
    with caught.value as refused:
        assert (refused.code, b"Invalid SessionDuration parameter" in refused.read()) == (400, True)
