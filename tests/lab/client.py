"""A client of the lab like any other: botocore makes the calls and pyotp the codes. It uses no code of mfa-kit."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import botocore.session
import pyotp
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from mfa_kit.lab.aws.server import Lab

SESSION = botocore.session.get_session()
ONCE = Config(retries={"total_max_attempts": 1})
PERIOD = 30
Keys = tuple[str, str, str | None]


def stop_the_clock(lab: Lab, patch: pytest.MonkeyPatch) -> None:
    """Stop AWS's clock in the middle of a step, so that no step ends during a test on a slow computer."""
    at = time.time() // PERIOD * PERIOD + PERIOD / 2
    patch.setattr(lab.account, "now", lambda: at + lab.account.offset)


def code(seed: bytes, step: int) -> str:
    return pyotp.HOTP(seed.decode()).at(step)


def document(*statements: dict[str, Any]) -> str:
    """Return a policy document. Statements without an Effect allow."""
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **one} for one in statements]})


@contextmanager
def refused(code: str, message: str = "") -> Iterator[None]:
    """Expect that the block raises this error of IAM or STS. If `message` is empty, any message is accepted."""
    with pytest.raises(ClientError) as caught:
        yield
    said = caught.value.response["Error"]
    assert (said["Code"], said["Message"]) == (code, message or said["Message"])


@dataclass
class Aws:
    """A client of a lab for one principal: the clients of IAM and STS, and the operations that many tests need."""

    lab: Lab
    keys: Keys
    seeds: dict[str, bytes] = field(default_factory=dict)

    def client(self, service: str, **more: Any) -> Any:
        key, secret, token = self.keys
        given = {
            "region_name": self.lab.account.region,
            "endpoint_url": self.lab.url,
            "aws_access_key_id": key,
            "aws_secret_access_key": secret,
            "aws_session_token": token,
            "config": ONCE,
        }
        return SESSION.create_client(service, **(given | more))

    @property
    def iam(self) -> Any:
        return self.client("iam")

    @property
    def sts(self) -> Any:
        return self.client("sts")

    def create(self, name: str, **more: Any) -> str:
        """Create a virtual device, store its secret in `seeds`, and return its serial."""
        made = self.iam.create_virtual_mfa_device(VirtualMFADeviceName=name, **more)["VirtualMFADevice"]
        self.seeds[made["SerialNumber"]] = made["Base32StringSeed"]
        return str(made["SerialNumber"])

    def now(self) -> int:
        """Return the current TOTP step of AWS's clock, in units of 30 s."""
        return int(self.lab.account.now()) // PERIOD

    def pair(self, seed: bytes, offset: int = 0) -> dict[str, str]:
        """Return the codes of the previous and the current step, shifted by `offset` steps, for EnableMFADevice."""
        step = self.now() + offset
        return {"AuthenticationCode1": code(seed, step - 1), "AuthenticationCode2": code(seed, step)}

    def enable(self, user: str, serial: str, offset: int = 0) -> None:
        self.iam.enable_mfa_device(UserName=user, SerialNumber=serial, **self.pair(self.seeds[serial], offset))

    def enrolled(self, user: str, name: str | None = None) -> str:
        serial = self.create(name or user)
        self.enable(user, serial)
        return serial

    def user(self, name: str) -> "Aws":
        """Create an access key for a user, and return a client of the lab with this key."""
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return Aws(self.lab, (key["AccessKeyId"], key["SecretAccessKey"], None), self.seeds)

    def mfa_session(self, serial: str, offset: int = 0) -> "Aws":
        """Call GetSessionToken with a code of the device. Return a client of the lab with the new session."""
        given = {"SerialNumber": serial, "TokenCode": code(self.seeds[serial], self.now() + offset)}
        return self.session(self.sts.get_session_token(**given)["Credentials"])

    def session(self, credentials: dict[str, Any]) -> "Aws":
        keys = (credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"])
        return Aws(self.lab, keys, self.seeds)
