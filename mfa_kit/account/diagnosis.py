"""Results of `mfa-kit doctor`, one value per line of its table, and its checks of an account. Nothing is changed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.account.reading import AccountSource
from mfa_kit.core.errors import AccessDenied, MfaKitError
from mfa_kit.core.models import Caller
from mfa_kit.enrollment.ports import IamReader

# Actions that `diagnose_account` tries, although a rollout does not need them.
ONLY_AUDIT = {"iam:GetAccountSummary"}


class Health(StrEnum):
    """The result of a check. The value is the word that the table shows.

    NOTED is for facts that are neither good nor bad. UNKNOWN is for something that could not be checked. If any result
    is BAD, `doctor` exits with 1.
    """

    GOOD = "ok"
    NOTED = "-"
    UNKNOWN = "unknown"
    BAD = "wrong"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One line of the table of `mfa-kit doctor`: `what` was checked, what was `found`, and a hint on how to fix it."""

    what: str
    health: Health
    found: str
    hint: str = ""


def diagnose_account(
    iam_reader: IamReader, account: AccountSource, caller: Caller, *, enrolls: bool
) -> Iterator[Diagnosis]:
    """Yield a line with the caller's identity in an account, then a line for each action that is tried.

    `iam_reader` and `account` read the account, and `caller` is the identity of its credentials. `enrolls` means that
    the caller's role is for enrolling users. Such a role does not need the actions in ONLY_AUDIT.
    """
    yield Diagnosis("credentials", Health.GOOD, f"account {caller.account} as {caller.arn}")
    reads: list[tuple[str, Callable[[], object]]] = [
        ("iam:GetAccountSummary", iam_reader.root_has_mfa),
        ("iam:ListVirtualMFADevices", lambda: next(account.virtual(), None)),
    ]
    for action, read in reads:
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
