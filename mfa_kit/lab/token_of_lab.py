"""Recognizes a lab by its endpoint on loopback and by a token that real credentials do not have."""

import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from mfa_kit.core.loopback import is_loopback

# The variable that holds the token in a lab's environment.
VARIABLE = "MFA_KIT_LAB"


def lab_token(secret_access_key: str) -> str:
    """Return the token of a lab. It is derived from the admin's secret key and does not reveal that key."""
    return hmac.digest(secret_access_key.encode(), b"mfa-kit lab", "sha256").hex()


def speaks_to_lab(endpoint_url: str, env: Mapping[str, str]) -> bool:
    """Return whether an endpoint is that of the lab of this environment, whoever's credentials are used there."""
    return VARIABLE in env and _is_on_loopback(endpoint_url)


def _is_on_loopback(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname)
    except ValueError:
        return False


def is_lab(env: Mapping[str, str]) -> bool:
    """Return whether an environment is that of a lab. The account number proves nothing, because others use it too."""
    token = lab_token(env.get("AWS_SECRET_ACCESS_KEY", ""))
    is_token = hmac.compare_digest(env.get(VARIABLE, "").encode(), token.encode())
    return is_token and _is_on_loopback(env.get("AWS_ENDPOINT_URL", ""))
