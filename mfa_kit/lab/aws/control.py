"""The control endpoint of a lab. AWS has no such endpoint.

It adds, lists and removes fault rules, lists calls, registers security keys and hardware tokens, signs users in to the
console, and adds and lists events of CloudTrail.

Each request has a custom header with lab-admin's secret access key, or with the token that `core/local_servers.py`
derives from that key. A web page cannot send a custom header without CORS permission, which the lab does not give.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from wsgiref.types import WSGIEnvironment

from moto.core.exceptions import ServiceException

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.file_formats import read_json
from mfa_kit.core.local_servers import lab_token
from mfa_kit.core.message import suggest
from mfa_kit.lab.aws.description import NAME
from mfa_kit.lab.aws.events import sign_in
from mfa_kit.lab.aws.faults import Faults
from mfa_kit.lab.aws.history import Event
from mfa_kit.lab.aws.mfa_devices import DeviceCodes, FidoDevice, HardwareToken, u2f_serial
from mfa_kit.lab.aws.wire import HttpResponse, IamError, LoggedCall

if TYPE_CHECKING:
    from mfa_kit.lab.aws.account import LabAccount
    from mfa_kit.lab.aws.organization import LabOrganization


PATH = "/lab/"
HEADER = "HTTP_X_MFA_KIT_LAB"
SEE = suggest("see", "help lab/control-endpoint")
HINTS = {
    "LimitExceeded": "remove a device first: mfa-kit revoke",
    "NoSuchEntity": "list the users of the lab: mfa-kit status",
}
KEY_FIELDS = ("user", "name", "certifications", "account")
SIGN_IN_FIELDS = ("user", "serial", "region", "end", "at", "account")
Payload = Mapping[str, object]


class LabControl:
    """The control endpoint of one lab. docs/lab.md lists its requests."""

    def __init__(self, organization: LabOrganization, faults: Faults, calls: Sequence[LoggedCall]) -> None:
        self.organization, self.account = organization, organization.management
        self.faults, self.calls = faults, calls
        self._requests: Mapping[tuple[str, str], Callable[[Payload], object]] = {
            ("POST", "faults"): self._add_rule,
            ("DELETE", "faults"): self._clear_rules,
            ("GET", "faults"): lambda _: [rule.row() for rule in self.faults.rules()],
            ("GET", "calls"): lambda _: [call._asdict() for call in self.calls],
            ("POST", "fido"): self._register_key,
            ("POST", "token"): self._add_token,
            ("GET", "events"): lambda payload: [*self._account(payload).history.all()],
            ("POST", "events"): self._add_events,
            ("POST", "sign-in"): self._sign_in,
        }

    def answer(self, environ: WSGIEnvironment) -> HttpResponse:
        """Answer one request with JSON.

        The status is 403 if the header has neither lab-admin's secret key nor the token. The status is 400 for an
        invalid request; the response then has an error and a hint.
        """
        secret = self.account.admin_key().secret_access_key
        shown = str(environ.get(HEADER, "")).encode()
        if not any(hmac.compare_digest(shown, credential.encode()) for credential in (secret, lab_token(secret))):
            return _json(
                HTTPStatus.FORBIDDEN, {"error": "this request needs the secret key of lab-admin or the lab's token"}
            )
        try:
            with self.account.lock:
                return _json(HTTPStatus.OK, self._act(environ))
        except (UsageFault, IamError, ServiceException, ValueError, TypeError, KeyError, AttributeError) as error:
            hint = HINTS.get(getattr(error, "code", ""), SEE)
            response = {"error": getattr(error, "message", str(error)), "hint": getattr(error, "hint", hint)}
            return _json(HTTPStatus.BAD_REQUEST, response)

    def _act(self, environ: WSGIEnvironment) -> object:
        payload = read_json(environ["lab.body"] or b"{}")
        act = self._requests.get((environ["REQUEST_METHOD"], environ["PATH_INFO"].removeprefix(PATH)))
        if act is None:
            raise UsageFault("the lab's control endpoint does not know this request", SEE)
        return act(payload)

    def _add_rule(self, payload: Payload) -> Payload:
        self.faults.add_row(payload)
        return {}

    def _clear_rules(self, _: Payload) -> Payload:
        self.faults.clear()
        return {}

    def _account(self, payload: Payload) -> LabAccount:
        """Return the account that a request names, or the management account if it names none.

        Raise UsageFault if the lab has no such account.
        """
        number = str(payload.get("account", self.account.id))
        account = self.organization.find(number)
        if account is None:
            raise UsageFault(f"the lab has no account {number!r}", "give the ID of an account of the lab")
        return account

    def _register_key(self, payload: Payload) -> Payload:
        if unknown := [name for name in payload if name not in KEY_FIELDS]:
            raise UsageFault(f"unknown field {unknown[0]!r} of a security key", f"use only {', '.join(KEY_FIELDS)}")
        levels = payload.get("certifications")
        certifications = {str(name): str(level) for name, level in levels.items()} if isinstance(levels, dict) else None
        account = self._account(payload)
        serial = register_fido(
            account, user=str(payload["user"]), name=str(payload["name"]), certifications=certifications
        )
        return {"SerialNumber": serial}

    def _add_token(self, payload: Payload) -> Payload:
        serial = str(payload["serial"])
        self._account(payload).backend.tokens[serial] = HardwareToken(serial, DeviceCodes(str(payload["seed"])))
        return {"SerialNumber": serial}

    def _add_events(self, payload: Payload) -> list[Event]:
        """Add events of any time to the history of an account, as they are."""
        rows = payload["events"]
        if not isinstance(rows, list):
            raise UsageFault("events is not a list", "give a list of events")
        return [self._account(payload).history.add(event) for event in rows]

    def _sign_in(self, payload: Payload) -> list[Event]:
        """Sign a user or root in to the console, with a password and a device."""
        if unknown := [name for name in payload if name not in SIGN_IN_FIELDS]:
            raise UsageFault(f"unknown field {unknown[0]!r} of a sign-in", f"use only {', '.join(SIGN_IN_FIELDS)}")
        moment = payload.get("at")
        how = {name: str(payload[name]) for name in ("serial", "region", "end") if name in payload}
        seconds = None if moment is None else datetime.fromisoformat(str(moment)).timestamp()
        return sign_in(self._account(payload), str(payload["user"]), at=seconds, **how)


def _json(status: HTTPStatus, value: object) -> HttpResponse:
    return HttpResponse(f"{status} {status.phrase}", [("Content-Type", "application/json")], json.dumps(value).encode())


def register_fido(account: LabAccount, *, user: str, name: str, certifications: Mapping[str, str] | None = None) -> str:
    """Register a FIDO security key for a user, as the console would. Return its serial.

    Raise UsageFault if the name does not match IAM's pattern. Raise moto's error with the code NoSuchEntity for an
    unknown user, and IamError with the code LimitExceeded if the user already has as many devices as the quota allows.
    """
    if not NAME.fullmatch(name):
        raise UsageFault(f"{name!r} is not a valid device name", "use letters, digits and + = , . @ - _")
    holder = account.backend.get_user(user)
    if len(holder.mfa_devices) >= account.settings.devices_per_user:
        raise IamError(
            "LimitExceeded", f"Cannot exceed quota for MFADevicesPerUser: {account.settings.devices_per_user}"
        )
    serial = u2f_serial(account.partition, account.id, user=holder.name, name=name)
    key = FidoDevice(serial, {"FIDO": "L1"} if certifications is None else dict(certifications))
    key.enable_date = account.today()
    holder.mfa_devices[serial] = key
    return serial
