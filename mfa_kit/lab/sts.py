"""STS as far as MFA meets it."""

from moto.core.responses import ActionResult
from moto.sts.responses import TokenResponse

from mfa_kit.lab import guard
from mfa_kit.lab.account import Account


class Sts(guard.Guard, TokenResponse):
    """GetSessionToken, AssumeRole, GetFederationToken, GetCallerIdentity."""

    def __init__(self, account: Account) -> None:
        TokenResponse.__init__(self)
        self.account = account

    def get_caller_identity(self) -> ActionResult:
        return ActionResult(
            {"UserId": self.caller.id, "Account": self.account.backend.account_id, "Arn": self.caller.arn}
        )
