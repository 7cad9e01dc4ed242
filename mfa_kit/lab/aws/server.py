"""The lab: a local simulator of IAM, STS, Organizations, S3 and the sign-in to the console, served on loopback."""

import base64
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from werkzeug.serving import make_server

from mfa_kit.core import lab_environment
from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws.account import LabAccount
from mfa_kit.lab.aws.builder import build_account
from mfa_kit.lab.aws.codes import DeviceCodes, LabSettings
from mfa_kit.lab.aws.control import register_fido
from mfa_kit.lab.aws.faults import Faults
from mfa_kit.lab.aws.iam import LabIam
from mfa_kit.lab.aws.mfa_devices import HardwareToken
from mfa_kit.lab.aws.organization import LabOrganization, new_organization
from mfa_kit.lab.aws.organization_api import LabOrganizations
from mfa_kit.lab.aws.organization_builder import add_members, build_organization
from mfa_kit.lab.aws.root_access import RootAccess
from mfa_kit.lab.aws.sts import LabSts
from mfa_kit.lab.aws.wire import LoggedCall
from mfa_kit.lab.aws.wsgi import LabApplication, LabRequestHandler
from mfa_kit.lab.child import user_names

HOST = "127.0.0.1"


def _listening(port: int) -> socket.socket:
    """Return a socket that listens on loopback.

    Raise UsageFault if the port cannot be used. werkzeug does not open the port, because on an error it would end the
    process.
    """
    ours = socket.socket()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        ours.bind((HOST, port))
    except OSError as error:
        ours.close()
        raise UsageFault(
            f"port {port} on {HOST} cannot be used: {error.strerror}", "use another --port, or omit it"
        ) from None
    ours.listen(128)
    return ours


class WholeIam(RootAccess, LabIam):
    """All operations of IAM in the lab."""


class Lab:
    """A lab (a local simulator of AWS), which listens on 127.0.0.1 until the context ends.

    Example: `with Lab(users=("alice",)) as lab: ... lab.env`. `users` are the names of the account's users. If
    `accounts` is not None, the account manages an organization with this number of member accounts, and each member
    account has `users_per_account` users. If `users` is empty, the management account also has `users_per_account`
    users. An organization in `description` replaces this organization. The attribute `organization` maps IDs to member
    accounts.
    """

    def __init__(
        self,
        users: Sequence[str] = (),
        *,
        region: str = "us-east-1",
        port: int = 0,
        settings: LabSettings | None = None,
        description: Mapping[str, object] | None = None,
        accounts: int | None = None,
        users_per_account: int = 0,
    ) -> None:
        lab_description = description or {}
        self.account = LabAccount(region=str(lab_description.get("region", region)), settings=settings or LabSettings())
        self.faults = Faults()
        self.account.add_admin()
        build_account(self.account, lab_description)
        for user in users or (user_names(users_per_account) if accounts is not None else ()):
            self.account.add_user(user)
        self.organization = LabOrganization(self.account)
        if "organization" in lab_description:
            self.organization = build_organization(self.account, lab_description["organization"])
        elif accounts is not None:
            self.organization = new_organization(self.account)
            add_members(self.organization, accounts, users=user_names(users_per_account))
        self.admin = self.account.admin_key()
        self.application = LabApplication(
            self.organization,
            self.faults,
            services={"iam": WholeIam, "sts": LabSts},
            organizations=LabOrganizations,
        )
        with _listening(port) as ours:
            self.url = f"http://{HOST}:{ours.getsockname()[1]}"
            self.server = make_server(
                HOST, 0, self.application, threaded=True, request_handler=LabRequestHandler, fd=ours.fileno()
            )
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def calls(self) -> list[LoggedCall]:
        """The calls to AWS services that the lab has answered so far, in order."""
        return self.application.calls

    @property
    def env(self) -> dict[str, str]:
        """The complete AWS environment of a child process. No AWS variable of the caller may be passed to the child."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.admin.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.admin.secret_access_key,
            lab_environment.VARIABLE: lab_environment.lab_variable(self.url, self.admin.secret_access_key),
            "AWS_DEFAULT_REGION": self.account.region,
            "AWS_REGION": self.account.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
            "NO_PROXY": HOST,
            "no_proxy": HOST,
        }

    def add_user(self, name: str, *, path: str = "/") -> None:
        """Create a user of the management account.

        Raise IamError with the code EntityAlreadyExists if the name is taken.
        """
        with self.account.lock:
            self.account.add_user(name, path=path)

    def account_of(self, serial: str) -> LabAccount:
        """Return the account in the ARN of a device.

        Return the management account for a hardware token, which has no ARN, and for an unknown account.
        """
        account = self.organization.find(serial.split(":")[4]) if serial.startswith("arn:") else None
        return account or self.account

    def seed(self, serial: str) -> bytes:
        """Return the octets of a device's secret, so that tests can check the user's copy."""
        return base64.b32decode(self.account_of(serial).backend.codes(serial).secret)

    def assigned(self, serial: str) -> str | None:
        """Return the name of the user who has the device, or None if it is unassigned."""
        with self.account.lock:
            user = self.account_of(serial).backend.holder(serial)
        return user.name if user else None

    def serials(self) -> set[str]:
        """Return the ARNs of all virtual devices of the management account, assigned or not."""
        with self.account.lock:
            return set(self.account.backend.virtual_mfa_devices)

    def add_token(self, serial: str, secret: str) -> None:
        """Register a hardware TOTP token in the management account, by its printed serial and its seed in base32."""
        with self.account.lock:
            self.account.backend.tokens[serial] = HardwareToken(serial, DeviceCodes(secret))

    def register_fido(self, user: str, name: str) -> str:
        """Register a FIDO security key for a user of the management account, and return the ARN of the key.

        In AWS, only the console can register such keys.
        """
        with self.account.lock:
            return register_fido(self.account, user=user, name=name)
