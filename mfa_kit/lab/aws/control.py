"""What only a lab has: an endpoint beside IAM's that plants faults, registers keys as the console would, tells calls.

Whoever asks shows the admin's secret key in a header of its own, which no page in a browser can send unasked.
"""

import hmac
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from moto.core.exceptions import ServiceException

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws import description
from mfa_kit.lab.aws.account import LabAccount
from mfa_kit.lab.aws.codes import DeviceCodes
from mfa_kit.lab.aws.devices import FidoDevice, HardwareToken, u2f_serial
from mfa_kit.lab.aws.faults import Faults
from mfa_kit.lab.aws.wire import IamError

PATH = "/lab/"
HEADER = "HTTP_X_MFA_KIT_LAB"
HINTS = {
    "LimitExceeded": "take a device away first: mfa-kit revoke",
    "NoSuchEntity": "the lab's users are listed by: mfa-kit status",
}


def answer_control(
    environ: Mapping[str, Any], *, account: LabAccount, faults: Faults, calls: list[Any]
) -> tuple[HTTPStatus, bytes]:
    """Answer one request to the control endpoint, as JSON."""
    secret = account.admin_key().secret_access_key
    if not hmac.compare_digest(str(environ.get(HEADER, "")).encode(), secret.encode()):
        return HTTPStatus.FORBIDDEN, b'{"error": "show the secret key of the lab\'s admin"}'
    try:
        with account.lock:
            found = _do(environ, account=account, faults=faults, calls=calls)
    except (UsageFault, IamError, ServiceException, ValueError, TypeError, KeyError, AttributeError) as error:
        hint = HINTS.get(getattr(error, "code", ""), "see docs/lab.md")
        told = {"error": getattr(error, "message", str(error)), "hint": getattr(error, "hint", hint)}
        return HTTPStatus.BAD_REQUEST, json.dumps(told).encode()
    return HTTPStatus.OK, json.dumps(found).encode()


def _do(environ: Mapping[str, Any], *, account: LabAccount, faults: Faults, calls: list[Any]) -> Any:
    asked = json.loads(environ["lab.body"] or b"{}")
    match environ["REQUEST_METHOD"], environ["PATH_INFO"].removeprefix(PATH):
        case "POST", "faults":
            faults.add_row(asked)
            return {}
        case "DELETE", "faults":
            faults.clear()
            return {}
        case "GET", "faults":
            return [{"operation": r.operation, "fault": r.fault, "at": r.at, **r.parameters} for r in faults.rules()]
        case "GET", "calls":
            return [call._asdict() for call in calls]
        case "POST", "fido":
            return {"SerialNumber": register_fido(account, **asked)}
        case "POST", "token":
            serial = str(asked["serial"])
            account.backend.tokens[serial] = HardwareToken(serial, DeviceCodes(str(asked["seed"])))
            return {"SerialNumber": serial}
        case _:
            raise UsageFault("the lab's control endpoint does not know this request", "see docs/lab.md")


def register_fido(account: LabAccount, *, user: str, name: str, certifications: dict[str, str] | None = None) -> str:
    """Register a FIDO security key for a user, as the console would. Return its serial.

    Raise UsageFault for a name that IAM's patterns refuse, IamError for a user who cannot have it.
    """
    if not description.NAME.fullmatch(name):
        raise UsageFault(f"{name!r} is no name of a device", "use letters, digits and + = , . @ - _")
    holder = account.backend.get_user(user)
    if len(holder.mfa_devices) >= account.settings.devices_per_user:
        raise IamError(
            "LimitExceeded", f"Cannot exceed quota for MFADevicesPerUser: {account.settings.devices_per_user}"
        )
    serial = u2f_serial(account.partition, account.backend.account_id, user=holder.name, name=name)
    key = FidoDevice(serial, {"FIDO": "L1"} if certifications is None else certifications)
    key.enable_date = account.today()
    holder.mfa_devices[serial] = key
    return serial
