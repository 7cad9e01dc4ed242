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


def is_lab(env: Mapping[str, str]) -> bool:
    """Return whether an environment is that of a lab. The account number proves nothing, because others use it too."""
    try:
        host = urlsplit(env.get("AWS_ENDPOINT_URL", "")).hostname
    except ValueError:
        return False
    token = lab_token(env.get("AWS_SECRET_ACCESS_KEY", ""))
    return is_loopback(host) and hmac.compare_digest(env.get(VARIABLE, "").encode(), token.encode())
