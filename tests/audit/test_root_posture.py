"""The verdict on root's credentials, for each combination of facts that can be read or missing."""

from dataclasses import replace
from itertools import product

import pytest

from mfa_kit.account.snapshot import RootPosture, RootVerdict, as_member, root_posture
from mfa_kit.core.models import REPORTED_ROOT, Device

ACCOUNT = "111111111111"
VIRTUAL = Device(f"arn:aws:iam::{ACCOUNT}:mfa/root-account-mfa-device", REPORTED_ROOT)
TOKEN = Device("GAHT12345678", REPORTED_ROOT)
FIDO = Device(f"arn:aws:iam::{ACCOUNT}:u2f/root-account/blue-ABCDEFGHIJ", REPORTED_ROOT)
SMS = Device(f"arn:aws:iam::{ACCOUNT}:sms-mfa/root", REPORTED_ROOT)
NOTHING = {"AccountPasswordPresent": 0, "AccountMFAEnabled": 0}
NOTHING |= {"AccountAccessKeysPresent": 0, "AccountSigningCertificatesPresent": 0}
WITH_MFA = {**NOTHING, "AccountPasswordPresent": 1, "AccountMFAEnabled": 1}


@pytest.mark.parametrize(
    ("change", "devices", "verdict"),
    [
        ({}, (), RootVerdict.NO_CREDENTIALS),
        ({"AccountMFAEnabled": 1}, (VIRTUAL,), RootVerdict.NO_CREDENTIALS),
        ({"AccountPasswordPresent": 1}, (), RootVerdict.NO_MFA),
        ({"AccountSigningCertificatesPresent": 1}, (), RootVerdict.CERTIFICATES),
        ({"AccountAccessKeysPresent": 1}, (), RootVerdict.ACCESS_KEYS),
        (WITH_MFA, (FIDO,), RootVerdict.SECURITY_KEY),
        (WITH_MFA, (TOKEN,), RootVerdict.HARDWARE_TOTP),
        (WITH_MFA, (VIRTUAL,), RootVerdict.VIRTUAL),
        (WITH_MFA, (VIRTUAL, FIDO), RootVerdict.SECURITY_KEY),
        ({**WITH_MFA, "AccountAccessKeysPresent": 1}, (FIDO,), RootVerdict.ACCESS_KEYS),
        ({**WITH_MFA, "AccountSigningCertificatesPresent": 1}, (FIDO,), RootVerdict.CERTIFICATES),
        (WITH_MFA, (SMS,), RootVerdict.UNKNOWN),
        (WITH_MFA, (), RootVerdict.UNKNOWN),
        (WITH_MFA, None, RootVerdict.UNKNOWN),
    ],
)
def test_the_verdict_is_the_worst_that_is_known(
    change: dict[str, int], devices: tuple[Device, ...] | None, verdict: RootVerdict
) -> None:
    """The strongest MFA device counts, and MFA does not make up for access keys."""
    posture = root_posture(ACCOUNT, {**NOTHING, **change}, devices=devices)
    assert (posture.verdict, bool(posture.why)) == (verdict, verdict is RootVerdict.UNKNOWN)


@pytest.mark.parametrize("missing", sorted(NOTHING))
def test_a_missing_fact_never_passes(missing: str) -> None:
    """If root has no MFA devices, only the MFA flag may be missing."""
    summary = {name: number for name, number in NOTHING.items() if name != missing}
    expected = RootVerdict.NO_CREDENTIALS if missing == "AccountMFAEnabled" else RootVerdict.UNKNOWN
    assert root_posture(ACCOUNT, summary).verdict is expected
    assert root_posture(ACCOUNT, {}, unread=("GetAccountSummary: denied",)).why == "GetAccountSummary: denied"


def test_a_missing_fact_never_makes_a_verdict_good() -> None:
    """For every combination of facts, removing one fact gives the same verdict, or a verdict that is not a pass."""
    for password, mfa, keys, certificates in product((False, True), repeat=4):
        whole = RootPosture(
            account=ACCOUNT,
            password=password,
            mfa=mfa,
            access_keys=keys,
            certificates=certificates,
            devices=(FIDO,),
        )
        for less in (
            replace(whole, password=None),
            replace(whole, mfa=None),
            replace(whole, access_keys=None),
            replace(whole, certificates=None),
            replace(whole, devices=None),
        ):
            assert less.verdict is whole.verdict or less.verdict.rank >= RootVerdict.CERTIFICATES.rank


@pytest.mark.parametrize(
    ("virtual", "verdict"),
    [(True, RootVerdict.VIRTUAL), (False, RootVerdict.NOT_VIRTUAL), (None, RootVerdict.UNKNOWN)],
)
def test_without_a_session_of_root_only_virtual_devices_are_known(virtual: bool | None, verdict: RootVerdict) -> None:
    """Without that session, AWS does not say which other device root has."""
    assert root_posture(ACCOUNT, WITH_MFA, virtual=virtual).verdict is verdict


def test_devices_show_mfa_if_the_summary_was_not_read() -> None:
    """The account's own facts are combined with the facts that its organization sees."""
    seen = root_posture(ACCOUNT, {}, devices=(TOKEN,), unread=("GetAccountSummary: denied",))
    assert (seen.mfa, seen.verdict) == (True, RootVerdict.UNKNOWN)
    assert seen.completed_by(root_posture(ACCOUNT, WITH_MFA)).verdict is RootVerdict.HARDWARE_TOTP


def test_credentials_are_listed_from_the_worst_on() -> None:
    """The list is the evidence of a finding."""
    all_ = {**WITH_MFA, "AccountAccessKeysPresent": 1, "AccountSigningCertificatesPresent": 1}
    assert root_posture(ACCOUNT, all_).credentials == ("access keys", "a password with MFA", "signing certificates")
    assert root_posture(ACCOUNT, NOTHING).credentials == ()


def test_a_member_account_of_an_unread_organization_is_still_a_member() -> None:
    """The enabled features of the organization are then unknown, not absent."""
    assert as_member(None).manages_credentials is None
