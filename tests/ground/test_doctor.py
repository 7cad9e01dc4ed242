"""The doctor's checks: what the line says about each fact, without the system that the fact is about."""

from collections.abc import Iterable

import pytest

from mfa_kit.core.errors import AccessDenied, AwsFault, DeviceFault, MfaKitError
from mfa_kit.core.models import Caller
from mfa_kit.doctor import checks
from mfa_kit.doctor.diagnosis import BucketState, Diagnosis, FileFacts, Health

CALLER = Caller(account="123456789012", arn="arn:aws:iam::123456789012:user/desk")
ME, OTHER = 1000, 1001


def health_of(lines: Iterable[Diagnosis]) -> dict[str, Health]:
    return {line.what: line.health for line in lines}


@pytest.mark.parametrize(
    ("folder", "health", "hint"),
    [
        (FileFacts(path="/f", fault="Permission denied"), Health.BAD, "check its permissions"),
        (FileFacts(path="/f"), Health.NOTED, ""),
        (FileFacts(path="/f", mode=0o700, owner=OTHER), Health.BAD, "chown 1000 /f"),
        (FileFacts(path="/f", mode=0o750, owner=ME), Health.BAD, "chmod 700 /f"),
        (FileFacts(path="/f", mode=0o700, owner=ME), Health.GOOD, ""),
    ],
)
def test_a_folder_belongs_to_the_user_alone(folder: FileFacts, health: Health, hint: str) -> None:
    """The hint is the command that corrects the folder."""
    line = checks.diagnose_folder("state folder", folder, user=ME)
    assert (line.health, str(line.hint)) == (health, hint)


@pytest.mark.parametrize(("mode", "health"), [(0o700, Health.NOTED), (0o777, Health.BAD)])
def test_a_folder_of_backups_is_noted_with_a_shared_ledger(mode: int, health: Health) -> None:
    """A fault of the folder counts more."""
    folder = FileFacts(path="/f", mode=mode, owner=ME)
    assert checks.diagnose_backup_folder(folder, user=ME, shared_ledger=True).health is health


def test_a_missing_ca_bundle_is_a_fault() -> None:
    """An existing one is only noted, because its owner could intercept requests."""
    lines = [checks.diagnose_profile_bundle("/ca.pem", exists=exists) for exists in (True, False)]
    assert [line.health for line in lines] == [Health.NOTED, Health.BAD]


@pytest.mark.parametrize(
    ("size", "health"), [(None, Health.NOTED), ((70, 24), Health.BAD), ((71, 23), Health.BAD), ((71, 24), Health.GOOD)]
)
def test_a_qr_code_fits_into_the_terminal(size: tuple[int, int] | None, health: Health) -> None:
    """Columns and lines both count."""
    assert checks.diagnose_terminal(size).health is health


def test_readers_that_refuse_are_a_fault_only_if_the_service_runs() -> None:
    """A computer without readers does not need the service."""

    def refuse() -> list[str]:
        raise DeviceFault("no service", "start it")

    lines = [
        checks.diagnose_readers(refuse, listens=lambda: True),
        checks.diagnose_readers(refuse, listens=lambda: False),
    ]
    assert [line.health for line in lines] == [Health.BAD, Health.NOTED]


@pytest.mark.parametrize(
    ("state", "healths"),
    [
        (BucketState(blocked=True, public=False, versioning=True, lock=""), [Health.GOOD, Health.GOOD, Health.GOOD]),
        (
            BucketState(blocked=None, public=None, versioning=None, lock=None),
            [Health.UNKNOWN, Health.UNKNOWN, Health.UNKNOWN],
        ),
        (
            BucketState(blocked=False, public=False, versioning=False, lock="GOVERNANCE"),
            [Health.NOTED, Health.NOTED, Health.GOOD],
        ),
        (
            BucketState(blocked=False, public=True, versioning=True, lock="COMPLIANCE"),
            [Health.BAD, Health.GOOD, Health.BAD],
        ),
    ],
)
def test_properties_of_a_bucket_that_cannot_be_read_are_unknown(state: BucketState, healths: list[Health]) -> None:
    """A public bucket and a lock in compliance mode are faults."""
    assert [line.health for line in checks.diagnose_bucket(state)] == healths


class Account:
    """An account in which a read of the summary, or of the devices, fails with an error."""

    def __init__(self, summary: MfaKitError | None, devices: MfaKitError | None) -> None:
        self.summary_error, self.devices_error = summary, devices

    def root_has_mfa(self) -> bool:
        if self.summary_error:
            raise self.summary_error
        return True

    def virtual(self) -> Iterable[object]:
        if self.devices_error:
            raise self.devices_error
        return iter(())


@pytest.mark.parametrize(
    ("summary", "devices", "enrolls", "healths"),
    [
        (None, None, False, (Health.GOOD, Health.GOOD)),
        (AccessDenied("denied", "ask"), None, True, (Health.NOTED, Health.GOOD)),
        (AccessDenied("denied", "ask"), AccessDenied("denied", "ask"), False, (Health.BAD, Health.BAD)),
        (AwsFault("broken", "wait"), None, True, (Health.BAD, Health.GOOD)),
    ],
)
def test_a_role_that_enrolls_need_not_read_the_summary(
    summary: MfaKitError | None, devices: MfaKitError | None, enrolls: bool, healths: tuple[Health, Health]
) -> None:
    """Only a denied permission is forgiven."""
    account = Account(summary, devices)
    lines = checks.diagnose_account(account, account, CALLER, enrolls=enrolls)  # type: ignore[arg-type]
    assert tuple(health_of(lines).values()) == (Health.GOOD, *healths)


def test_credentials_of_another_account_are_a_fault() -> None:
    """The lines are those of `credentials` and `account`."""
    assert health_of(checks.diagnose_caller(CALLER, "210987654321")) == {
        "credentials": Health.GOOD,
        "account": Health.BAD,
    }


def test_a_clock_that_differs_from_aws_is_noted() -> None:
    """Codes are computed with the time of AWS, so it is no fault."""
    assert [checks.diagnose_clock(offset).health for offset in (0.0, 90.0)] == [Health.GOOD, Health.NOTED]


def test_rights_that_cannot_be_decided_are_unknown() -> None:
    """IAM's simulator cannot decide about a condition such as MFA."""
    lines = [*checks.diagnose_rights({"iam:GetUser": True, "iam:ListUsers": False, "iam:TagMFADevice": None})]
    assert [line.health for line in lines] == [Health.GOOD, Health.BAD, Health.UNKNOWN]
    assert "condition" in lines[2].found
    (unasked,) = checks.diagnose_rights({"iam:GetUser": None})
    assert "iam:SimulatePrincipalPolicy" in unasked.found


def test_a_role_is_checked_with_names_that_are_made_up() -> None:
    """A role has no user and no device of its own."""
    role = Caller(account=CALLER.account, arn=f"arn:aws:sts::{CALLER.account}:assumed-role/desk/x")
    assert checks.simulated_resources(CALLER)["iam:GetUser"] == CALLER.arn
    assert checks.simulated_resources(role)["iam:GetUser"].endswith(":user/mfa-kit-doctor")


@pytest.mark.parametrize(
    ("node", "in_group", "rule", "hint"),
    [
        (FileFacts(path="/dev/hidraw7"), False, False, "pass the device to the container: --device /dev/hidraw7"),
        (FileFacts(path="/dev/hidraw7", mode=0o600, group=7), False, True, "unplug the key"),
        (FileFacts(path="/dev/hidraw7", mode=0o660, group=7), True, True, "sign in again"),
        (FileFacts(path="/dev/hidraw7", mode=0o660, group=7), False, True, "usermod --append --groups keys desk"),
    ],
)
def test_a_key_that_cannot_be_opened_has_its_remedy(node: FileFacts, in_group: bool, rule: bool, hint: str) -> None:
    """The remedy depends on the mode and the group of the device node."""
    line = checks.diagnose_node(node, opens=False, rule=rule, group="keys", user="desk", in_group=in_group)
    assert line.health is Health.BAD
    assert hint in str(line.hint)


def test_environment_variables_that_expose_requests_are_listed() -> None:
    """A missing bundle and a log of keys are faults. Only the host of a proxy is shown."""
    env = {"https_proxy": "http://u:p@proxy", "NO_PROXY": "local", "AWS_CA_BUNDLE": "/ca", "SSLKEYLOGFILE": "/keys"}
    lines = [*checks.diagnose_environment(env, host_of=lambda _: "proxy", is_file=lambda _: False)]
    assert [(line.what, line.health) for line in lines] == [
        ("proxy", Health.NOTED),
        ("proxy", Health.NOTED),
        ("CA bundle", Health.BAD),
        ("TLS key log", Health.BAD),
    ]
    assert "u:p" not in "".join(line.found for line in lines)
    assert [*checks.diagnose_environment({}, host_of=str, is_file=lambda _: True)] == []
