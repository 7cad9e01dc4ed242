"""Finds sessions for other programs in the cache. As this takes milliseconds, boto3 is not loaded."""

import os
import time
from pathlib import Path
from typing import NamedTuple

from mfa_kit.adapters.aws.profile_files import ENDPOINTS, TEMPORARY, read_profile
from mfa_kit.adapters.files.session_cache import read_private
from mfa_kit.core.errors import UsageFault
from mfa_kit.sessions.session import MfaSession, SessionRequest, parse_entry


class SessionOptions(NamedTuple):
    """The options of `mfa-kit session` that say which session is wanted. None means that an option was not given."""

    profile: str | None
    endpoint_url: str | None
    device: str | None
    role: str | None
    seconds: int


def session_folder() -> Path:
    """Return the folder of sessions: in `$MFA_KIT_HOME`, or in the user's folder for caches."""
    if home := os.environ.get("MFA_KIT_HOME"):
        return Path(home).absolute() / "sessions"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "mfa-kit" / "sessions"


def read_request(options: SessionOptions) -> SessionRequest:
    """Return the request for a session. Raise UsageFault if the profile does not have long-term access keys alone."""
    if options.profile is None:
        raise UsageFault("no profile was named", "name the profile with the user's access keys: --profile NAME")
    profile = read_profile(options.profile, os.environ)
    reason = _reason_against(profile)
    if reason:
        raise UsageFault(
            f"profile {options.profile} {reason}",
            "name the profile that has the user's long-term access keys, and nothing else that gives credentials",
        )
    device = options.device or profile.get("mfa_serial")
    if not device:
        raise UsageFault(
            f"profile {options.profile} does not name its user's MFA device",
            f"add this line to [profile {options.profile}] in ~/.aws/config: "
            "mfa_serial = arn:aws:iam::ACCOUNT:mfa/NAME; or give --mfa-device",
        )
    if ":u2f/" in device:
        raise UsageFault(
            f"{device} is a security key, and AWS gives no session for these", "name a device with codes: --mfa-device"
        )
    chosen = [
        options.endpoint_url,
        *map(os.environ.get, ENDPOINTS),
        profile.get("services"),
        profile.get("endpoint_url"),
    ]
    return SessionRequest(
        " ".join(filter(None, chosen)), profile["aws_access_key_id"], device, options.role or "", options.seconds
    )


def _reason_against(profile: dict[str, str]) -> str:
    """Return why a profile's credentials cannot be used, or "" if they can."""
    if "credential_process" in profile:
        return "has a credential_process, which would call mfa-kit again and again"
    if "role_arn" in profile:
        return "has a role_arn; give the role as --role-arn instead"
    if TEMPORARY in profile:
        return "has temporary access keys"
    return "" if profile.get("aws_access_key_id") else "has no access keys"


def find_cached(request: SessionRequest) -> MfaSession | None:
    """Return the session in the cache, or None if it is missing, damaged or valid for too short a time."""
    text = read_private(session_folder(), request.name)
    session = parse_entry(text, request) if text else None
    return session if session and session.is_fresh(time.time()) else None


def has_keys(profile: str) -> bool:
    """Return whether a profile exists and has access keys."""
    try:
        return "aws_access_key_id" in read_profile(profile, os.environ)
    except UsageFault:
        return False
