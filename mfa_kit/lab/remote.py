"""Sends requests to the control endpoint of a running lab, for `mfa-kit lab fido-register`."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.file_formats import read_json
from mfa_kit.core.local_servers import token_in

LONGEST = 1 << 20
HINT = "run the command under `mfa-kit lab run`, or export the variables that `mfa-kit lab serve` prints"


def ask_lab(method: str, path: str, payload: Mapping[str, object], *, env: Mapping[str, str]) -> Any:
    """Send a request to the lab that the variables `env` name. Return the parsed JSON response (docs/lab.md).

    Raise UsageFault if there is no lab, or if the lab does not answer or refuses the request.
    """
    if (token := token_in(env)) is None:
        raise UsageFault("there is no lab in this environment", HINT)
    request = urllib.request.Request(  # noqa: S310 - token_in checked that it is loopback
        f"{env['AWS_ENDPOINT_URL']}/lab/{path}",
        method=method,
        data=json.dumps(payload).encode(),
        headers={"X-Mfa-Kit-Lab": token},
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=30) as answer:
            return read_json(answer.read(LONGEST))
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error.read(LONGEST)) from None
    except (urllib.error.URLError, OSError) as error:
        raise UsageFault(f"the lab does not answer: {getattr(error, 'reason', error)}", HINT) from None
    except ValueError:
        raise UsageFault("the server at this endpoint is not a lab", HINT) from None


def _refusal(body: bytes) -> UsageFault:
    """Return a UsageFault for an error response: the reason that the lab gives, or that the server is not a lab."""
    try:
        reason = read_json(body)
        return UsageFault(str(reason["error"]), str(reason.get("hint") or HINT))
    except (ValueError, KeyError, TypeError, AttributeError):
        return UsageFault("the server at this endpoint is not a lab", HINT)
