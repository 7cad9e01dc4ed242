"""The output of `policy show`: complete, small enough, explained line by line, and enforced by the lab as intended."""

import json
from typing import Any

import pytest

from mfa_kit.lab.aws.codes import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.policy.texts import PolicyChoices, Variant, first_sign_in_line, mfa_policy
from tests.contract.test_permissions import WISHES
from tests.lab.client import Aws, refused


@pytest.mark.parametrize("wish", WISHES, ids=str)
def test_every_line_is_explained(wish: PolicyChoices) -> None:
    """Each statement and each action that is allowed without MFA has its purpose."""
    document, lines = mfa_policy(wish)
    told = {line.text for line in lines}
    assert {row["Sid"] for row in document["Statement"]} <= told
    assert set(document["Statement"][-1]["NotAction"]) <= told
    assert all(line.why for line in (*lines, first_sign_in_line(wish)))


@pytest.mark.parametrize("wish", WISHES, ids=str)
def test_the_policy_is_within_the_size_quotas(wish: PolicyChoices) -> None:
    """The quota of inline policies is 5,120 characters for a group and 2,048 for a user: IAM and STS quotas."""
    assert len(json.dumps(mfa_policy(wish)[0], separators=(",", ":"))) < 2048


def test_arns_are_of_the_partition() -> None:
    """An ARN of another partition would match nothing."""
    text = json.dumps(mfa_policy(PolicyChoices(partition="aws-us-gov"))[0])
    assert "arn:aws-us-gov:iam" in text
    assert "arn:aws:" not in text


def test_no_user_can_remove_a_device_without_mfa() -> None:
    """No variant of the policy allows it."""
    for wish in WISHES:
        open_to = mfa_policy(wish)[0]["Statement"][-1]["NotAction"]
        assert not {"iam:DeleteVirtualMFADevice", "iam:DeactivateMFADevice"} & set(open_to)


def described(wish: PolicyChoices, **bob: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "groups": [
            {
                "name": "people",
                "policies": {"force-mfa": mfa_policy(wish)[0]},
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
