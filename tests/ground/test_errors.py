"""The exit codes, in one table."""

import pytest

from mfa_kit.core import errors

TABLE = {
    errors.UsageFault: 2,
    errors.WrongPassphrase: 2,
    errors.DeviceFault: 3,
    errors.Unreachable: 3,
    errors.LostError: 3,
    errors.RefusedPin: 3,
    errors.ResetTooLate: 3,
    errors.InUse: 3,
    errors.NoApplet: 3,
    errors.AwsFault: 4,
    errors.NoSuchEntity: 4,
    errors.AlreadyExists: 4,
    errors.InvalidCode: 4,
    errors.Conflict: 4,
    errors.AccessDenied: 4,
    errors.BusyError: 4,
    errors.Outdated: 4,
    errors.InvalidValue: 4,
    errors.Expired: 4,
    errors.OutcomeUnknownError: 4,
    errors.TooSlow: 4,
    errors.Unsettled: 4,
    errors.UnlistedError: 4,
    errors.IntegrityFault: 5,
    errors.BackupDenied: 5,
    errors.WrongIdentityError: 5,
    errors.Unrecorded: 5,
    errors.WrongPlace: 5,
    errors.NoSuchOperation: 4,
    errors.InvalidValue: 4,
    errors.Unreachable: 3,
    errors.Lockout: 6,
    errors.Throttled: 7,
    errors.StoreThrottled: 7,
    errors.StoreExpired: 4,
    errors.Declined: 8,
    errors.InternalError: 70,
}


@pytest.mark.parametrize(("kind", "code"), TABLE.items())
def test_each_error_has_the_exit_code_of_the_table(kind: type[errors.MfaKitError], code: int) -> None:
    """Each error also has its message and its hint as separate attributes."""
    error = kind("it rains", "take an umbrella")
    assert error.exit_code == code
    assert str(error) == "it rains"
    assert error.hint == "take an umbrella"


def test_the_table_knows_every_error() -> None:
    """A new error class needs an exit code here."""
    classes = {
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.MfaKitError)
    }
    assert classes - {errors.MfaKitError} == set(TABLE)
