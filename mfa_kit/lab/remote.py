"""The client of a lab's control endpoint, for `mfa-kit lab` verbs that use a lab that is running."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.token_of_lab import VARIABLE, is_lab

HINT = "run it under `mfa-kit lab run`, or export what `mfa-kit lab serve` prints"


def ask_lab(method: str, path: str, payload: Mapping[str, object], *, env: Mapping[str, str]) -> Any:
    """Send a request to the lab that the environment names. Return its JSON (docs/lab-reference.md).

    Raise UsageFault if there is no lab, or if it refuses the request.
    """
    if not is_lab(env):
        raise UsageFault("there is no lab in this environment", HINT)
    request = urllib.request.Request(  # noqa: S310 - loopback, by the line above
        f"{env['AWS_ENDPOINT_URL']}/lab/{path}",
        method=method,
        data=json.dumps(payload).encode(),
        headers={"X-Mfa-Kit-Lab": env[VARIABLE]},
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            said = json.load(error)
        raise UsageFault(said["error"], said.get("hint") or HINT) from None
    except urllib.error.URLError as error:
        raise UsageFault(f"the lab does not answer: {error.reason}", HINT) from None
