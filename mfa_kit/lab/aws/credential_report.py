"""Writes the credential report, the CSV file that GetCredentialReport returns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mfa_kit.lab.aws.account import LabAccount
    from mfa_kit.lab.aws.backend import LabUser


COLUMNS = (
    *("user", "arn", "user_creation_time", "password_enabled", "password_last_used", "password_last_changed"),
    *("password_next_rotation", "mfa_active"),
    *("access_key_1_active", "access_key_1_last_rotated", "access_key_1_last_used_date"),
    *("access_key_1_last_used_region", "access_key_1_last_used_service"),
    *("access_key_2_active", "access_key_2_last_rotated", "access_key_2_last_used_date"),
    *("access_key_2_last_used_region", "access_key_2_last_used_service"),
    *("cert_1_active", "cert_1_last_rotated", "cert_2_active", "cert_2_last_rotated"),
)
# The report's placeholders: for a missing value, for a sign-in that was never recorded, and for a column that does not
# apply to root.
NONE, NEVER, UNSUPPORTED = "N/A", "no_information", "not_supported"
CERTIFICATES = ["false", NONE, "false", NONE]
# The maximum number of access keys of a user (user guide, "IAM and STS quotas").
KEYS = 2


def write_report(account: LabAccount) -> bytes:
    """Return the credential report, a CSV file, in the form of a report that we recorded from AWS.

    Root comes first, and users are sorted regardless of case. Dates end in `Z`. Lines end in LF, except the last.
    """
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerow(_root_row(account))
    policy = account.backend.account_password_policy
    max_age = (policy and policy.max_password_age) or 0
    for user in sorted(account.backend.all_users(), key=lambda user: user.name.lower()):
        rows.writerow(_user_row(user, max_age))
    return out.getvalue().rstrip("\n").encode()


def _root_row(account: LabAccount) -> list[str]:
    root = account.root
    arn = f"arn:{account.partition}:iam::{account.id}:root"
    used = (_date(root.key_last_used), "us-east-1", "iam") if root.key_last_used else (NONE, NONE, NONE)
    keys: list[str] = []
    for number in range(KEYS):
        keys += ["true", _date(root.created), *used] if number < root.keys else ["false", NONE, NONE, NONE, NONE]
    password = [UNSUPPORTED, _date(root.password_last_used, NEVER), UNSUPPORTED, UNSUPPORTED]
    return ["<root_account>", arn, _date(root.created), *password, _bool(root.held()), *keys, *CERTIFICATES]


def _user_row(user: LabUser, max_age: int) -> list[str]:
    """Return the row of a user. The password must be changed after `max_age` days, or never if `max_age` is 0."""
    start = [user.name, user.arn, _date(user.create_date)]
    return [*start, *_password(user, max_age), _bool(user.mfa_devices), *_keys(user), *CERTIFICATES]


def _password(user: LabUser, max_age: int) -> list[str]:
    if not user.password:
        return ["false", NONE, NONE, NONE]
    changed = user.password_changed
    due = changed + timedelta(days=max_age) if max_age and changed else None
    return ["true", _date(user.password_last_used, NEVER), _date(changed), _date(due)]


def _keys(user: LabUser) -> Iterator[str]:
    keys = sorted(user.access_keys, key=lambda key: key.access_key_id)[:KEYS]
    for key in keys:
        used = key.last_used
        yield from (_bool(key.status == "Active"), _date(key.create_date))
        yield from (_date(used.timestamp), used.region, used.service) if used else (NONE, NONE, NONE)
    for _ in range(KEYS - len(keys)):
        yield from ("false", NONE, NONE, NONE, NONE)


def _bool(value: object) -> str:
    return "true" if value else "false"


def _date(at: datetime | None, none: str = NONE) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ") if at else none
