"""The checks that `mfa-kit doctor` makes in each of many accounts. Nothing is changed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mfa_kit.adapters.aws.account import AccountReader
from mfa_kit.core.errors import AccessDenied, MfaKitError
from mfa_kit.core.models import Caller
from mfa_kit.wiring.diagnosis import Diagnosis, Health

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.iam import Iam


# Actions that `diagnose_account` tries, although a rollout does not need them.
ONLY_AUDIT = {"iam:GetAccountSummary"}


def diagnose_account(iam: "Iam", caller: Caller, *, enrolls: bool = False) -> Iterator[Diagnosis]:
    """Yield a line with the caller's identity in an account, then a line for each action that is tried.

    `iam` is the client of the account, and `caller` the identity of its credentials. `enrolls` means that the caller's
    role is for enrolling users. Such a role does not need the actions in ONLY_AUDIT.
    """
    yield Diagnosis("credentials", Health.GOOD, f"account {caller.account} as {caller.arn}")
    for action, read in (
        ("iam:GetAccountSummary", iam.root_has_mfa),
        ("iam:ListVirtualMFADevices", lambda: next(AccountReader(iam.ask, now=iam.now).virtual(), None)),
    ):
        try:
            read()
        except AccessDenied as error:
            if enrolls and action in ONLY_AUDIT:
                yield Diagnosis(action, Health.NOTED, "denied; audit and status need this permission, rollouts do not")
            else:
                yield Diagnosis(action, Health.BAD, str(error), error.hint)
        except MfaKitError as error:
            yield Diagnosis(action, Health.BAD, str(error), error.hint)
        else:
            yield Diagnosis(action, Health.GOOD, "allowed")
