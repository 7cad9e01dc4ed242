"""Bench of service control policies (SCPs): the calls to read them, and the CPU of `policy lockout` with three levels.

The calls are for 100 accounts in 20 units with 15 policies. The account has 5,000 users. Each level has FullAWSAccess
and an SCP that denies something, one of them with a condition about MFA. The runs without and with levels alternate.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from unittest.mock import patch

from mfa_kit.account.snapshot import ControlLevel, ControlPolicy, Snapshot
from mfa_kit.adapters.aws.clients import Connection
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.adapters.aws.organizations import OrganizationReader
from mfa_kit.lab.aws.server import Lab
from mfa_kit.organization.control_policies import FULL_ACCESS, FULL_ACCESS_TEXT, OrganizationControl
from mfa_kit.policy.lockout import access_under, access_with, control_trial
from mfa_kit.policy.texts import PolicyChoices, control_policy, force_mfa
from tests.audit.conftest import taken
from tests.bench.audit import described
from tests.bench.table import Row, show

RUNS = 5
REGION = {"StringNotEquals": {"aws:RequestedRegion": ["eu-west-1", "us-east-1"]}}
DENIES = (
    {"Effect": "Deny", "NotAction": ["iam:*", "sts:*"], "Resource": "*", "Condition": REGION},
    {"Effect": "Deny", "Action": ["organizations:LeaveOrganization", "cloudtrail:StopLogging"], "Resource": "*"},
)


def levels() -> tuple[ControlLevel, ...]:
    """Return three levels: a Region policy, the one that requires MFA, and one that protects the organization."""
    full = ControlPolicy(id=FULL_ACCESS, name="FullAWSAccess", text=FULL_ACCESS_TEXT)
    rows = (DENIES[0], control_policy(PolicyChoices())[0]["Statement"][0], DENIES[1])
    texts = [json.dumps({"Version": "2012-10-17", "Statement": [row]}) for row in rows]
    return tuple(
        ControlLevel(target=target, name="", policies=(full, ControlPolicy(id=target, name="", text=text)))
        for target, text in zip(("r-lab0", "ou-lab0-00000001", "000000000001"), texts, strict=True)
    )


def cpu(function: Callable[[], object]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began


def calls() -> Counter[str]:
    """Return the calls that list 101 accounts, and read their SCPs."""
    with Lab(accounts=100) as lab, patch.dict(os.environ, lab.env):
        organization = lab.organization
        units = [organization.add_unit(f"unit-{number}") for number in range(20 - len(organization.units))]
        targets = [*units, *organization]
        for number in range(15):
            organization.attach(f"policy-{number}", json.dumps({"Version": "2012-10-17", "Statement": [DENIES[1]]}),
                                *targets[number::15])  # fmt: skip
        del lab.calls[:]
        iam = Iam(observe=lambda _: None, sleep=lambda _: None, connection=Connection(endpoint_url=lab.url))
        reader = OrganizationReader(iam.ask_organizations)
        accounts = list(reader.accounts())
        policies = reader.policies()
        control = OrganizationControl(read=lambda: policies, units=reader.units)
        assert all(control.levels(account) for account in accounts[1:])
        return Counter(call.operation for call in lab.calls)


def lockouts(snapshot: Snapshot) -> Mapping[str, list[float]]:
    """Return the CPU seconds of each kind of lockout, by its name. The kinds alternate."""
    three = replace(snapshot, control=levels())
    text = json.dumps(control_policy(PolicyChoices())[0])
    trial = control_trial(replace(snapshot, control=levels()[:2]), text, target="ou-lab0-00000001")
    assert trial is not None
    kinds: dict[str, Callable[[], object]] = {
        "lockout, without SCPs": lambda: access_with(snapshot, force_mfa("aws")),
        "lockout, three levels of SCPs": lambda: access_with(three, force_mfa("aws")),
        "lockout --scp, three levels": lambda: access_under(three, trial),
    }
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(RUNS):
        for name, kind in kinds.items():
            seconds[name].append(cpu(kind))
    return seconds


def main() -> int:
    """Measure, print the figures with their bounds, and return the exit code."""
    rows = [Row("reading SCPs: 100 accounts, 20 units, 15 policies", calls().total(), "calls", 50)]
    seconds = {name: min(times) for name, times in lockouts(taken(described())[0]).items()}
    base = seconds["lockout, without SCPs"]
    rows += [Row(name, round(time, 2), "s of CPU") for name, time in seconds.items()]
    rows.append(Row("with three levels", round(seconds["lockout, three levels of SCPs"] / base, 2), "times", 1.5))
    return show("service control policies", rows)


if __name__ == "__main__":
    sys.exit(main())
