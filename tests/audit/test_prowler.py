"""Prowler and the audit judge the same account in the lab. Prowler is installed only for `.ci/run full`."""

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.audit import registry
from mfa_kit.audit.finding import Limits, RuleResult
from mfa_kit.lab.aws.server import Lab
from tests.audit.conftest import ADMINISTRATOR, ago, sound, taken, trust
from tests.audit.test_rules import CLOUDSHELL, EVERYTHING, FIDO, SMS
from tests.conftest import ROOT, without
from tests.sizes import FULL

# Prowler has a virtual environment of its own, beside that of the tests (docs/development.md).
PROGRAM = Path(f"{sys.prefix}-prowler/bin/prowler")
SIGNED_IN = {"password": True, "created": ago(300), "password_changed": ago(200), "password_last_used": ago(1)}
POLICY = "arn:aws:iam::000000000000:policy"


def key(letter: str, **fields: Any) -> dict[str, Any]:
    return {"id": f"AKIA{letter * 16}", "secret": "s", **fields}


def person(name: str, **fields: Any) -> dict[str, Any]:
    """Describe a user who signed in yesterday with a virtual device, unless `fields` say otherwise.

    A field that is None is left out.
    """
    every = {"name": name, "groups": ["people"], "devices": [{"name": name}], **SIGNED_IN, **fields}
    return {field: value for field, value in every.items() if value is not None}


def faulty() -> dict[str, Any]:
    """Describe an account with each fault of the rules on root, users, groups, roles, policies and devices."""
    found = sound()
    found["root"] = {"mfa": False, "keys": 1, "password_last_used": ago(2)}
    found["password_policy"] = {"minimum_password_length": 7, "require_symbols": True, "max_password_age": 120}
    found["groups"].append({"name": "open"})
    found["policies"] = [{"name": "full", "document": EVERYTHING}, {"name": "unused", "document": EVERYTHING}]
    found["roles"] = [
        {"name": "ops", "trust": trust({"AWS": "arn:aws:iam::000000000000:root"})},
        {
            "name": "run",
            "trust": trust({"Service": "lambda.amazonaws.com"}),
            "attached": [CLOUDSHELL, f"{POLICY}/full"],
        },
    ]
    found["certificates"] = [{"name": "old", "expires": ago(1)}, {"name": "new"}]
    found["devices"] = [{"name": "half-made"}]
    found["users"] += [
        person("admin-none", groups=["programs"], devices=[]),
        person("admin-one", groups=["programs"]),
        person("no-mfa", devices=[]),
        person("phone", devices=[SMS]),
        person("open", groups=["open"]),
        person("unused", password_last_used=ago(70)),
        person("never", password_last_used=None, password_changed=ago(200)),
        person("direct", policies={"own": EVERYTHING}),
        person("attached", attached=[ADMINISTRATOR]),
        person("groupless", groups=[]),
        person("initial", keys=[key("A", created=SIGNED_IN["created"], last_used=ago(1))]),
        person("service", password_last_used=None, keys=[key("B", created=ago(20), last_used=ago(1))]),
        person("two", keys=[key("C", created=ago(20), last_used=ago(1)), key("D", created=ago(20), last_used=ago(1))]),
        person("unopened", keys=[key("H", created=ago(20))]),
        {"name": "key", "groups": ["people"], "created": ago(10), "keys": [key("E", created=ago(9), last_used=ago(1))]},
        {
            "name": "key-fido",
            "groups": ["people"],
            "created": ago(10),
            "keys": [key("F", created=ago(9), last_used=ago(1))],
            "devices": [FIDO],
        },
        {
            "name": "key-old",
            "groups": ["people"],
            "created": ago(400),
            "devices": [{"name": "key-old"}],
            "keys": [key("G", created=ago(300), last_used=ago(60))],
        },
    ]
    return found


def by_prowler(lab: Lab, folder: Path) -> dict[str, dict[str, str]]:
    """Run Prowler's checks on IAM, and return the status of each resource by check."""
    done = subprocess.run(
        [
            PROGRAM,
            "aws",
            "--service",
            "iam",
            "-M",
            "json-ocsf",
            "-o",
            folder,
            "-F",
            "lab",
            "-b",
            "--region",
            "us-east-1",
        ],
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **lab.env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 3}, done.stdout + done.stderr  # 3: a check failed
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for row in json.loads((folder / "lab.ocsf.json").read_text()):
        found[row["metadata"]["event_code"]][row["resources"][0]["uid"]] = row["status_code"]
    return found


# The rules of mfa-kit, the checks of Prowler, and the subjects that only mfa-kit and only Prowler find in this account.
# Where both find a fault and name it differently, each has its own name for it. docs/audit.md has the reasons.
NONE: frozenset[str] = frozenset()
COMPARED: list[tuple[str, tuple[str, ...], set[str] | frozenset[str], set[str] | frozenset[str]]] = [
    ("root.mfa", ("iam_root_mfa_enabled",), NONE, NONE),
    ("root.hardware", ("iam_root_hardware_mfa_enabled",), NONE, NONE),
    ("root.keys", ("iam_no_root_access_key",), NONE, NONE),
    ("root.use", ("iam_avoid_root_usage",), {"root"}, NONE),
    ("admins.mfa", ("iam_administrator_access_with_mfa",), {"admin-none"}, {"programs"}),
    (
        "admins.phishing",
        ("iam_user_hardware_mfa_enabled",),
        NONE,
        {
            *("alice", "groupless", "initial", "key", "key-old", "lab-admin", "never", "no-mfa", "open", "phone"),
            *("service", "two", "unopened", "unused"),
        },
    ),
    ("users.mfa", ("iam_user_mfa_enabled_console_access",), NONE, NONE),
    ("users.unused", ("iam_user_accesskey_unused", "iam_user_console_access_unused"), {"never", "service"}, NONE),
    ("users.old-keys", ("iam_rotate_access_key_90_days",), NONE, {"root"}),
    ("users.initial-keys", ("iam_user_no_setup_initial_access_key",), NONE, NONE),
    ("users.two-keys", ("iam_user_two_active_access_key",), NONE, NONE),
    ("users.direct", ("iam_policy_attached_only_to_group_or_roles",), NONE, NONE),
    (
        "policies.full",
        (
            "iam_customer_attached_policy_no_administrative_privileges",
            "iam_customer_unattached_policy_no_administrative_privileges",
            "iam_inline_policy_no_administrative_privileges",
        ),
        NONE,
        NONE,
    ),
    (
        "policies.administrator",
        (
            "iam_group_administrator_access_policy",
            "iam_role_administratoraccess_policy",
            "iam_user_administrator_access_policy",
        ),
        {"direct", "run"},
        NONE,
    ),
    ("policies.cloudshell", ("iam_policy_cloudshell_admin_not_attached",), {"run"}, {"AWSCloudShellFullAccess"}),
    ("roles.support", ("iam_support_role_created",), {"000000000000"}, {"AWSSupportAccess"}),
    ("certificates.expired", ("iam_no_expired_server_certificates_stored",), NONE, NONE),
    ("passwords.length-14", ("iam_password_policy_minimum_length_14",), NONE, NONE),
    ("passwords.reuse-24", ("iam_password_policy_reuse_24",), NONE, NONE),
    ("passwords.expiry-90", ("iam_password_policy_expires_passwords_within_90_days_or_less",), NONE, NONE),
    ("passwords.upper", ("iam_password_policy_uppercase",), NONE, NONE),
    ("passwords.lower", ("iam_password_policy_lowercase",), NONE, NONE),
    ("passwords.numbers", ("iam_password_policy_number",), NONE, NONE),
    ("passwords.symbols", ("iam_password_policy_symbol",), NONE, NONE),
]
# Prowler's names for what the audit calls otherwise.
NAMES = {"mfa": "root", "password-policy": "password policy"}


def failed(rows: Mapping[str, str]) -> set[str]:
    """Return the names of the resources that failed a check: the last part of each ARN."""
    names = (arn.rpartition(":")[2].rpartition("/")[2] for arn, status in rows.items() if status == "FAIL")
    return {NAMES.get(name, name) for name in names}


def documented() -> dict[str, tuple[set[str], bool]]:
    """Return the table in docs/audit.md: for each rule, the checks of Prowler, and whether both find the same."""
    section = (ROOT / "docs/audit.md").read_text().partition("## Compared with Prowler")[2].partition("\n## ")[0]
    found = (re.match(r"\| `([a-z0-9.-]+)` \| (`iam_.+`) \| (same|differs)", line) for line in section.splitlines())
    return {row[1]: (set(re.findall(r"iam_\w+", row[2])), row[3] == "same") for row in found if row}


def test_the_documentation_has_the_comparison() -> None:
    """The table in docs/audit.md has the same rows as the comparison, and says of the same rows that they differ."""
    assert documented() == {rule: (set(checks), not mine | theirs) for rule, checks, mine, theirs in COMPARED}


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="Prowler is installed by .ci/run full")
def test_prowler_and_the_audit_differ_only_where_documented(tmp_path: Path) -> None:
    """On an account with every fault, a rule and its checks find the same subjects, except those listed above."""
    if not PROGRAM.exists():
        without(f"{PROGRAM} does not exist")
    theirs: dict[str, dict[str, str]] = {}
    snapshot, _ = taken(faulty(), first=lambda lab: theirs.update(by_prowler(lab, tmp_path)))
    answers = registry.audit_snapshot(snapshot, [*registry.RULES, *registry.CONTROL_RULES], Limits())
    ours = {
        answer.rule.id: {each.subject.rpartition(":")[2].rpartition("/")[2] for each in answer.findings}
        for answer in answers
    }
    differences = {}
    for rule, checks, _, _ in COMPARED:
        found = set().union(*(failed(theirs[check]) for check in checks))
        differences[rule] = (ours[rule] - found, found - ours[rule])
    assert differences == {rule: (mine, other) for rule, _, mine, other in COMPARED}
    # The account does have every fault that a rule on this account can find without options.
    passed = {answer.rule.id for answer in answers if answer.result is RuleResult.PASS}
    assert passed == {"admins.exist", "devices.quota", "passwords.symbols"}
