"""The checks of `mfa-kit doctor` in one of many accounts. Nothing is changed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mfa_kit.adapters.aws.account import AccountReader
from mfa_kit.core.errors import MfaKitError
from mfa_kit.core.models import Caller
from mfa_kit.wiring.diagnosis import Diagnosis, Health

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.iam import Iam


def diagnose_account(iam: "Iam", caller: Caller) -> Iterator[Diagnosis]:
    """Report mfa-kit's identity in an account, and whether it can read the account's devices."""
    yield Diagnosis("credentials", Health.GOOD, f"account {caller.account} as {caller.arn}")
    for action, read in (
        ("iam:GetAccountSummary", iam.root_has_mfa),
        ("iam:ListVirtualMFADevices", lambda: next(AccountReader(iam.ask, now=iam.now).virtual(), None)),
    ):
        try:
            read()
        except MfaKitError as error:
            yield Diagnosis(action, Health.BAD, str(error), error.hint)
        else:
            yield Diagnosis(action, Health.GOOD, "allowed")
