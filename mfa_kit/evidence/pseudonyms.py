"""Replaces names in an export, such as user and device names, with pseudonyms that are computed with a secret key.

The same key gives the same pseudonyms, so two exports can be compared. Without the key, names cannot be guessed by
computing the pseudonyms of likely names. The rules are applied before names are replaced, so no verdict depends
on the pseudonyms.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import TypeVar

from mfa_kit.account.snapshot import DeviceBackup, Snapshot
from mfa_kit.core.file_formats import JsonError, read_json
from mfa_kit.core.models import REPORTED_ROOT, Device
from mfa_kit.core.recorded_keys import KeyFacts

R = TypeVar("R", str, tuple[str, ...])

LENGTH = 12
# Matches a name in IAM.
NAME = r"[\w+=,.@-]+"
# Patterns for text that is never replaced: the beginning of an ARN, the ARN of AWS's own policies, policy variables.
TYPES = "role|group|policy|instance-profile|server-certificate|saml-provider|oidc-provider"
AWS_POLICY = r"arn:[^:\s]*:iam::aws:[\w/+=,.@-]*"
ARN_START = rf"arn:[^:\s]*:[^:\s]*:[^:\s]*:[^:\s]*:(?:root\b|(?:{TYPES})/)?"
KEPT = rf"(?P<kept>{AWS_POLICY}|{ARN_START}|\$\{{[^}}]*\}})"
# The ends of ARNs that name a device, a user or a session, in this account or another.
DEVICE = rf"(?<=:)(?P<device>(?:mfa|sms-mfa|u2f/user)/)(?P<device_name>(?:{NAME}/)*{NAME})(?![*?$])"
USER = rf"(?<=:)(?P<user>user/)(?P<path>(?:{NAME}/)*)(?P<user_name>{NAME})(?![\w+=,.@*?$/-])"
SESSION = rf"(?<=:)(?P<session>assumed-role/{NAME}/|federated-user/)(?P<session_name>{NAME})"
# IDs of users and access keys, the name of a session after the ID of its role, and email addresses.
ID = r"(?<![A-Za-z0-9])(?P<id>(?:AIDA|AKIA|ASIA)[A-Z0-9]{12,})(?![A-Za-z0-9])"
ROLE_SESSION = rf"(?P<role_id>AROA[A-Z0-9]{{12,}}:)(?P<role_session>{NAME})"
EMAIL = r"(?P<email>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)"
# The elements of a statement that may contain names (IAM user guide, "IAM JSON policy elements").
NAMING = {"Principal", "NotPrincipal", "Resource", "NotResource"}
# Condition values that are never names.
TRUTHS = {"true", "false"}


def pseudonym(kind: str, name: str, key: bytes) -> str:
    """Return the pseudonym of a name, such as `user-0123456789ab`."""
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which help pages do not need
    import hmac  # noqa: PLC0415

    return f"{kind}-{hmac.new(key, f'{kind}:{name}'.encode(), hashlib.sha256).hexdigest()[:LENGTH]}"


def names_of(snapshot: Snapshot, keys: Iterable[KeyFacts] = ()) -> dict[str, str]:
    """Return the names to replace, each with its kind: user, custodian, token, computer, backup, path or key.

    The serials and labels of `keys` are replaced too. A part of a user's path is replaced, because a path may be named
    after its only user.
    """
    devices = [*chain.from_iterable(snapshot.listed.values()), *snapshot.virtual]
    kinds: dict[str | None, str] = {}  # a name may have several kinds, of which the last counts
    kinds |= dict.fromkeys(chain.from_iterable((facts.serial, facts.label) for facts in keys), "key")
    for user in snapshot.users:
        kinds |= dict.fromkeys(user.arn.split("/")[1:-1], "path")
    for backup in snapshot.backups:
        kinds |= {backup.file: "backup", backup.computer: "computer"}
    for use in snapshot.break_glass or ():
        kinds |= dict.fromkeys((key.name for key in use.custodians), "custodian")
    kinds |= dict.fromkeys((device.serial for device in devices if not device.serial.startswith("arn:")), "token")
    owned: list[Device | DeviceBackup] = [*devices, *snapshot.backups]
    kinds |= dict.fromkeys({entry.user for entry in owned} - {REPORTED_ROOT}, "user")
    kinds |= dict.fromkeys(map(attrgetter("name"), snapshot.users), "user")
    return {name: kind for name, kind in kinds.items() if name}


@dataclass(frozen=True, kw_only=True)
class Pseudonyms:
    """Replaces names in texts. `names` maps names to kinds. `key` is the secret for the pseudonyms.

    A name is replaced, in upper or lower case, wherever it is not part of a longer word. The paths and last parts of
    ARNs of users, sessions and devices are replaced too, as are IDs of users and access keys, and email addresses.
    """

    names: Mapping[str, str]
    key: bytes

    @cached_property
    def _by_lower(self) -> Mapping[str, str]:
        return {name.lower(): name for name in self.names}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest = sorted(map(re.escape, self.names), key=len, reverse=True)
        known = rf"(?<![A-Za-z0-9])(?P<known>{'|'.join(longest) or '(?!)'})(?![A-Za-z0-9])"
        # IAM ignores case when it compares the names of users, and people write them in any case.
        return re.compile(f"{KEPT}|{DEVICE}|{USER}|{SESSION}|{known}|{ROLE_SESSION}|{ID}|{EMAIL}", re.IGNORECASE)

    def in_text(self, text: str) -> str:
        """Replace the names in a text of mfa-kit, or a single name."""
        return self._pattern.sub(self._replace, text)

    def in_policy(self, document: str) -> str:
        """Replace the names in a policy. Actions and operators are kept."""
        try:
            policy = read_json(document)
        except JsonError:
            return self._pattern.sub(self._replace, document)
        return json.dumps(self._policy(policy), ensure_ascii=False)

    def _policy(self, value: object) -> object:
        match value:
            case list():
                return [self._policy(entry) for entry in value]
            case dict():
                return {name: self._element(str(name), member) for name, member in value.items()}
            case _:
                return value

    def _element(self, name: str, value: object) -> object:
        if name == "Condition" and isinstance(value, dict):
            return {operator: self._values(keys) for operator, keys in value.items()}
        if name in {"Id", "Sid"} and isinstance(value, str):  # such as AllowZoe: nothing separates the name
            return (
                pseudonym("sid", value, self.key)
                if any(lower_name in value.lower() for lower_name in self._by_lower)
                else value
            )
        return self._values(value) if name in NAMING else self._policy(value)

    def _values(self, value: object) -> object:
        """Replace the names in a value of a policy. The keys of JSON objects are kept."""
        match value:
            case str():
                return value if value.lower() in TRUTHS else self._pattern.sub(self._replace, value)
            case list():
                return [self._values(entry) for entry in value]
            case dict():
                return {name: self._values(member) for name, member in value.items()}
            case _:
                return value

    def _replace(self, match: re.Match[str]) -> str:
        if match["kept"]:
            return match[0]
        for kind in ("device", "user", "session"):
            if match[kind]:
                path = "".join(f"{self._known(part, 'path')}/" for part in (match["path"] or "").split("/")[:-1])
                return f"{match[kind]}{path}{self._known(match[f'{kind}_name'], kind)}"
        if match["role_id"]:
            return match["role_id"] + self._known(match["role_session"], "session")
        if match["known"]:
            return self._known(match["known"], "user")
        kind = "id" if match["id"] else "email"
        return pseudonym(kind, match[0].lower(), self.key)

    def _known(self, name: str, kind: str) -> str:
        """Return the pseudonym of a name. If `names` lacks the name, its kind is `kind`."""
        known = name if name in self.names else self._by_lower.get(name.lower(), name)
        return pseudonym(self.names.get(known, kind), known, self.key)


@dataclass(frozen=True, slots=True)
class Hiding:
    """The functions that replace the names in a text and in a policy with pseudonyms.

    By default, the functions return the texts unchanged.
    """

    text: Callable[[str], str] = str
    policy: Callable[[str], str] = str
    sorts: bool = False

    def order(self, rows: Iterable[R]) -> list[R]:
        """Return the rows, sorted if `sorts` is true. Names in the rows must already be replaced with pseudonyms.

        IAM lists many things by name, so the original order would reveal something about the names.
        """
        return sorted(rows) if self.sorts else list(rows)


def hiding(snapshot: Snapshot, key: bytes | None, keys: Iterable[KeyFacts] = ()) -> Hiding:
    """Return a Hiding for the names in a snapshot and of physical keys.

    `key` is the secret, or None to keep the names.
    """
    if key is None:
        return Hiding()
    names = Pseudonyms(names=names_of(snapshot, keys), key=key)
    return Hiding(text=names.in_text, policy=names.in_policy, sorts=True)
