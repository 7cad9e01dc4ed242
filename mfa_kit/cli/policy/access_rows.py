"""The result rows of `mfa-kit policy lockout`, and the users who count as locked out."""

from collections.abc import Iterable

from mfa_kit.account.reading import AccountSource
from mfa_kit.cli.results import ResultRow
from mfa_kit.policy.lockout import AccessState, UserAccess, compare_with_simulator

# The states in which nothing changes for the user.
UNCHANGED = {AccessState.FINE, AccessState.NO_WAY}


def access_row(access: UserAccess) -> ResultRow:
    """Return the row for one way in which a user gets access: a console password or access keys."""
    return {
        "user": access.user,
        "way": access.way,
        "standing": access.state,
        "why": access.why,
        "first": access.first or None,
        "already": access.already,
    }


def locked_out(accesses: Iterable[UserAccess], *, self_enroll: bool) -> set[str]:
    """Return the users who would or might be locked out.

    With `self_enroll`, leave out users who can enroll themselves.
    """
    spared = {AccessState.ENROLLS} if self_enroll else set()
    return {access.user for access in accesses if access.shut and access.state not in spared}


def compared_lines(document: str, account: AccountSource | None) -> list[str]:
    """Return lines that say whether IAM's policy simulator and mfa-kit evaluate the policy in the same way.

    There are no lines if `account`, which calls the simulator, is None.
    """
    if account is None:
        return []
    compared = compare_with_simulator(document, account)
    if compared.why_not:
        return [f"not compared with IAM's policy simulator: {compared.why_not}"]
    if not compared.differing:
        return ["IAM's policy simulator agrees with mfa-kit"]
    return [f"IAM's policy simulator disagrees: {difference}" for difference in compared.differing]
