"""Recognizes URLs of servers on this computer's loopback interface, which no other machine can impersonate, and a lab.

A lab has an environment variable with its loopback endpoint and a token that only labs have. The account number does
not identify a lab, because other simulators use the same number. Credentials do not identify a lab either, because each
user of a lab has different credentials.
"""

import re
from collections.abc import Mapping

# Matches the URL of a server on the loopback interface. URL parsers disagree about backslashes, user names and unusual
# spellings, so only this form, on which all agree, is recognized.
LOOPBACK = re.compile(
    r"https?://(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(:\d{1,5})?(/[^\s\\@]*)?", re.ASCII | re.IGNORECASE
)


def is_loopback(address: str) -> bool:
    """Return whether an address is an http or https URL whose host is `localhost`, `[::1]` or in 127.0.0.0/8."""
    return LOOPBACK.fullmatch(address) is not None


# The variable in a lab's environment: the token, `@`, and the endpoint.
VARIABLE = "MFA_KIT_LAB"
VALUE = re.compile(r"(?P<token>[0-9a-f]{64})@(?P<endpoint>.+)")
# Prefixes of the variables that choose an endpoint: for all services, for one service (AWS_ENDPOINT_URL_IAM), and for
# mfa-kit.
ENDPOINTS = ("AWS_ENDPOINT_URL", "MFA_KIT_ENDPOINT_URL")
# If this variable is true, AWS clients ignore the variables that choose an endpoint.
IGNORES_ENDPOINTS = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"


def lab_token(secret_access_key: str) -> str:
    """Return the token of a lab: an HMAC with the administrator's secret access key. It does not reveal this key."""
    import hmac  # noqa: PLC0415 - loads OpenSSL, which help pages do not need

    return hmac.digest(secret_access_key.encode(), b"mfa-kit lab", "sha256").hex()


def lab_variable(endpoint: str, secret_access_key: str) -> str:
    """Return the value of the environment variable MFA_KIT_LAB, by which programs recognize a lab."""
    return f"{lab_token(secret_access_key)}@{endpoint}"


def token_in(env: Mapping[str, str]) -> str | None:
    """Return the token in the environment of a lab, or None for any other environment.

    Also return None if a variable chooses an endpoint that is not the lab's, or if IGNORES_ENDPOINTS is true.
    """
    match = VALUE.fullmatch(env.get(VARIABLE, ""))
    endpoints = {value.rstrip("/") for name, value in env.items() if name.startswith(ENDPOINTS) and value}
    if match is None or endpoints != {match["endpoint"].rstrip("/")}:
        return None
    if env.get(IGNORES_ENDPOINTS, "").lower() == "true":
        return None
    return match["token"] if is_loopback(env.get("AWS_ENDPOINT_URL", "")) else None


def is_lab(env: Mapping[str, str]) -> bool:
    """Return whether `env` is the environment of a lab."""
    return token_in(env) is not None


def speaks_to_lab(endpoint_url: str, env: Mapping[str, str]) -> bool:
    """Return whether an endpoint belongs to the lab of the environment `env`. The credentials do not matter."""
    return is_lab({**env, "AWS_ENDPOINT_URL": endpoint_url})
