"""The output of `policy show`: complete, small enough, explained line by line, and enforced by the lab as intended."""

import json
from dataclasses import replace
from typing import Any

import pytest

from mfa_kit.account.evaluator import Decision, evaluate
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.policies import EvalDecision, decide
from mfa_kit.lab.aws.server import Lab
from mfa_kit.policy.lint import Holder, find_traps
from mfa_kit.policy.texts import Certification, PolicyChoices, Variant, first_sign_in_line, mfa_policy
from tests.contract.test_permissions import WISHES
from tests.lab.client import Aws, refused


@pytest.mark.parametrize("policy_request", WISHES, ids=str)
def test_every_line_is_explained(policy_request: PolicyChoices) -> None:
    """Each statement and each action that is allowed without MFA has its purpose."""
    document, lines = mfa_policy(policy_request)
    told = {line.text for line in lines}
    assert {row["Sid"] for row in document["Statement"]} <= told
    assert set(document["Statement"][-1]["NotAction"]) <= told
    assert all(line.why for line in (*lines, first_sign_in_line(policy_request)))


@pytest.mark.parametrize("policy_request", WISHES, ids=str)
def test_the_policy_is_within_the_size_quotas(policy_request: PolicyChoices) -> None:
    """The quota of inline policies is 5,120 characters for a group and 2,048 for a user: IAM and STS quotas."""
    assert len(json.dumps(mfa_policy(policy_request)[0], separators=(",", ":"))) < 2048


def test_arns_are_of_the_partition() -> None:
    """An ARN of another partition would match nothing."""
    text = json.dumps(mfa_policy(PolicyChoices(partition="aws-us-gov"))[0])
    assert "arn:aws-us-gov:iam" in text
    assert "arn:aws:" not in text


def test_no_user_can_remove_a_device_without_mfa() -> None:
    """No variant of the policy allows it."""
    for policy_request in WISHES:
        open_to = mfa_policy(policy_request)[0]["Statement"][-1]["NotAction"]
        assert not {"iam:DeleteVirtualMFADevice", "iam:DeactivateMFADevice"} & set(open_to)


def described(policy_request: PolicyChoices, **bob: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "groups": [
            {
                "name": "people",
                "policies": {"force-mfa": mfa_policy(policy_request)[0]},
                "attached": ["arn:aws:iam::aws:policy/IAMReadOnlyAccess"],
            }
        ],
        "users": [
            {"name": "bob", "groups": ["people"], "keys": [{"id": "AKIAAAAAAAAAAAAAAAAA", "secret": "s"}], **bob}
        ],
    }


def bobs(lab: Lab) -> Aws:
    return Aws(lab, ("AKIAAAAAAAAAAAAAAAAA", "s", None))


def test_a_user_enrolls_a_device_and_then_works_with_mfa() -> None:
    """Before the enrollment, other calls are denied. Afterwards, all allowed actions work in a session with a code."""
    with Lab(description=described(PolicyChoices()), settings=LabSettings(propagation=0)) as lab:
        bob = bobs(lab)
        with refused("AccessDenied"):
            bob.iam.list_users()
        session = bob.mfa_session(bob.enrolled("bob", "of-any-name"))
        assert session.iam.list_users()["Users"]


def test_with_enrollment_by_administrators_users_cannot_enroll() -> None:
    """A user can get a session with MFA, but cannot create a device."""
    with Lab(description=described(PolicyChoices(variant=Variant.ADMIN))) as lab, refused("AccessDenied"):
        bobs(lab).create("bob")


@pytest.mark.parametrize("paths", [False, True])
def test_users_with_a_path_need_the_variant_for_paths(paths: bool) -> None:
    """Only that variant matches the ARN of such a user, and no variant matches another user's."""
    with Lab(("carol",), description=described(PolicyChoices(user_paths=paths), path="/team/east/")) as lab:
        bob = bobs(lab)
        serial = bob.create("bob")
        with refused("AccessDenied"):
            bob.enable("carol", serial)
        if paths:
            bob.enable("bob", serial)
        else:
            with refused("AccessDenied"):
                bob.enable("bob", serial)


def test_a_user_can_use_only_their_own_device_names() -> None:
    """No user can create a device with another user's name."""
    with Lab(("carol",), description=described(PolicyChoices(own_names=True))) as lab:
        bob = bobs(lab)
        with refused("AccessDenied"):
            bob.create("carol")
        bob.create("bob")


CERTIFIED = PolicyChoices(certification=Certification.L2, fips=True)
KEY = {"iam:RegisterSecurityKey": "Activate"}


@pytest.mark.parametrize(
    ("keys", "allowed"),
    [
        ({}, True),  # a virtual device or a token
        ({"iam:RegisterSecurityKey": "Create"}, True),
        (KEY, False),
        ({**KEY, "iam:FIDO-certification": "L2"}, False),
        ({**KEY, "iam:FIDO-certification": "L2", "iam:FIDO-FIPS-140-2-certification": "L2"}, True),
        ({**KEY, "iam:FIDO-certification": "L3plus", "iam:FIDO-FIPS-140-3-certification": "L1"}, True),
        ({**KEY, "iam:FIDO-certification": "L1plus", "iam:FIDO-FIPS-140-3-certification": "L2"}, False),
    ],
)
def test_only_certified_security_keys_are_enabled(keys: dict[str, str], allowed: bool) -> None:
    """The product's evaluator and the lab's one agree on each key. Other devices are not affected."""
    text = json.dumps(mfa_policy(CERTIFIED)[0])
    user = "arn:aws:iam::000000000000:user/bob"
    context = {"aws:username": "bob", "aws:MultiFactorAuthPresent": "true", **keys}
    names = ("certification", "FIPS-140-2-certification", "FIPS-140-3-certification")
    nothing = {f"iam:FIDO-{name}": None for name in names}
    own = evaluate((text,), "iam:EnableMFADevice", user, {"iam:RegisterSecurityKey": None, **nothing, **context})
    assert (own is Decision.ALLOW) is allowed
    assert (decide([text], "iam:EnableMFADevice", user, context) is EvalDecision.ALLOW) is allowed


def test_a_policy_about_certification_has_no_traps() -> None:
    """Our own lint finds nothing in it, every statement is explained, and it fits into a group's inline policies."""
    plain = PolicyChoices(first_sign_in=True, user_paths=True)
    for policy_request in (
        replace(plain, fips=True),
        replace(plain, certification=Certification.L1),
        replace(plain, certification=Certification.L2, fips=True),
    ):
        document, lines = mfa_policy(policy_request)
        assert find_traps(json.dumps(document)) == find_traps(json.dumps(document), on=Holder.GROUP) == []
        assert {row["Sid"] for row in document["Statement"]} <= {line.text for line in lines}
        assert len(json.dumps(document, separators=(",", ":"))) < 5120
