"""Accounts in the lab, either sound or with one fault, and read the way the product reads them."""

import copy
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from mfa_kit.account.reading import read_account
from mfa_kit.account.snapshot import AccountUsage, DeviceBackup, EventsRead, Snapshot
from mfa_kit.adapters.aws.account import AccountReader
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.adapters.aws.member_sessions import read_central_root_access
from mfa_kit.adapters.ledger.seen_keys import SeenKeyRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.adapters.ledger.usage_records import UsageRecords
from mfa_kit.core.firmware import DeviceRecall, Verdict
from mfa_kit.core.models import Device, DeviceType, DeviceUse, UseEvent
from mfa_kit.core.recorded_keys import KeyDevice, KeyEvent, KeyFacts
from mfa_kit.lab.aws.server import Lab
from mfa_kit.policy.texts import PolicyChoices, mfa_policy
from mfa_kit.usage.events import EventsReading

FORCE = mfa_policy(PolicyChoices())[0]
MFA = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
Change = Callable[[dict[str, Any]], None]
MEMBER = "000000000001"
KEY_FACTS = "YubiKey 5 NFC with firmware 5.4.3"
KEY = f"u2f/user/lab-admin/key-{'A' * 26}"
# When the key was enabled, in Unix seconds. IAM's times have whole seconds.
KEY_SINCE = float(int(time.time()) - 3600)
MEMBER_KEY = {"id": "AKIAMEMBERAAAAAAAAAA", "secret": "s"}


def ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def trust(principal: dict[str, Any], **more: Any) -> dict[str, Any]:
    row = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **more}
    return {"Version": "2012-10-17", "Statement": [row]}


def sound() -> dict[str, Any]:
    """Describe an account without faults. The lab's own admin is its program."""
    key = {
        "kind": "fido",
        "name": "key",
        "serial": f"arn:aws:iam::000000000000:{KEY}",
        "certifications": {"FIDO": "L1"},
        "enabled": datetime.fromtimestamp(KEY_SINCE, UTC).isoformat(),
    }
    both = [{"name": "lab-admin"}, key]
    return {
        "version": 1,
        "root": {"mfa": True, "password_last_used": ago(400)},
        "password_policy": {
            "minimum_password_length": 15,
            "allow_change_password": True,
            "password_reuse_prevention": 24,
        },
        "groups": [
            {"name": "programs", "attached": [ADMINISTRATOR]},
            {"name": "people", "policies": {"force-mfa": FORCE}},
        ],
        "roles": [
            {"name": "web", "trust": trust({"Service": "ec2.amazonaws.com"})},
            {"name": "ops", "trust": trust({"AWS": "arn:aws:iam::000000000000:root"}, Condition=MFA)},
            {
                "name": "support",
                "attached": ["arn:aws:iam::aws:policy/AWSSupportAccess"],
                "trust": trust({"AWS": "arn:aws:iam::000000000000:root"}, Condition=MFA),
            },
        ],
        "users": [
            {"name": "lab-admin", "groups": ["programs"], "devices": both},
            {
                "name": "alice",
                "groups": ["people"],
                "created": ago(300),
                "password": True,
                "password_changed": ago(200),
                "password_last_used": ago(1),
                "devices": [{"name": "alice"}],
            },
        ],
    }


def taken(
    description: dict[str, Any],
    *denied: str,
    failing: Mapping[str, int] = MappingProxyType({}),
    first: Callable[[Lab], None] = lambda _: None,
    backups: Callable[[tuple[Device, ...]], tuple[DeviceBackup, ...]] = lambda _: (),
    **how: Any,
) -> tuple[Snapshot, Lab]:
    """Take a snapshot of a described account, or of its member account.

    Operations are denied every time, or at one call.
    """
    with pytest.MonkeyPatch.context() as patch, Lab(description=description) as lab:
        for name, value in lab.env.items():
            patch.setenv(name, value)
        if "accounts" in description.get("organization", {}):
            patch.setenv("AWS_ACCESS_KEY_ID", MEMBER_KEY["id"])
            patch.setenv("AWS_SECRET_ACCESS_KEY", MEMBER_KEY["secret"])
        first(lab)
        for operation in denied:
            lab.faults.add(operation, "denied", at="every")
        for operation, number in failing.items():
            lab.faults.add(operation, "denied", at=number)
        iam = Iam(observe=lambda _: None, sleep=lambda _: None)
        reader = AccountReader(iam.ask, now=iam.now, sleep=lambda _: None)
        central = partial(read_central_root_access, iam.ask)
        how = {"central_root": central, "break_glass": lambda: (), **how}
        how = {"max_age": 14400.0, "caller": iam.caller(), "backups": backups, **how}
        return read_account(iam, reader, **how), lab


def known_keys(snapshot: Snapshot) -> tuple[DeviceRecall, ...]:
    """Return a record of each security key in the account, which no advisory names."""
    return tuple(
        DeviceRecall(serial=device.serial, user=user, since=device.since, key=KEY_FACTS, verdict=Verdict.NOT_LISTED)
        for user, devices in snapshot.listed.items()
        for device in devices
        if device.type is DeviceType.FIDO2
    )


def organization(**fields: Any) -> Change:
    """Make the account the management account of an organization."""
    return lambda found: found.update(organization=fields)


def member(**root: Any) -> Change:
    """Make the account a member account of an organization, whose root user has these fields."""

    def change(found: dict[str, Any]) -> None:
        account = {**found, "id": MEMBER, "name": "shop", "root": root}
        del account["version"]
        next(user for user in account["users"] if user["name"] == "lab-admin")["keys"] = [MEMBER_KEY]
        found.clear()
        found.update(version=1, organization={"accounts": [account]})

    return change


def changed(change: Change | None) -> dict[str, Any]:
    description = copy.deepcopy(sound())
    if change is not None:
        change(description)
    return description


def usage(**changes: float | None) -> AccountUsage:
    """Return the uses of the sound account's devices, all of them in the next minute, when they are enabled.

    The keywords are names of devices, with the Unix time of their use or None.
    """
    now = time.time()
    times = {"mfa/alice": now + 60, "mfa/lab-admin": now + 60, KEY: now + 60, **changes}
    return AccountUsage(
        uses=tuple(
            DeviceUse(
                serial=f"arn:{partition}:iam::000000000000:{name}",
                principal="",
                user="",
                at=used,
                event=UseEvent.CONSOLE_LOGIN,
                region="us-east-1",
            )
            for name, used in times.items()
            for partition in ("aws", "aws-us-gov")
            if used is not None
        ),
        reads=tuple(
            EventsRead(region="us-east-1", event=event, since=now - 91 * 86400, until=now - 60) for event in UseEvent
        ),
    )


def record_usage(home: Path) -> None:
    """Record these uses in the ledger of a desk."""
    with sqlite_ledger(home) as ledger:
        known = usage()
        readings = [
            EventsReading(region=read.region, event=read.event, since=read.since, until=read.until)
            for read in known.reads
        ]
        UsageRecords(ledger).record("000000000000", known.uses, readings)


def record_key(home: Path) -> None:
    """Record the sound account's security key in the ledger of a desk. No advisory names its model."""
    serial = f"arn:aws:iam::000000000000:{KEY}"
    device = KeyDevice(account="000000000000", user="lab-admin", serial=serial, since=KEY_SINCE)
    with sqlite_ledger(home) as ledger:
        facts = KeyFacts(model="a key that no advisory names", attested=frozenset({"model"}))
        SeenKeyRecords(ledger).add(facts, KeyEvent.ENROLLED, now=KEY_SINCE, device=device)
