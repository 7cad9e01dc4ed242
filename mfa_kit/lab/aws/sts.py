"""STS operations that involve MFA: sessions with and without a code, roles, federation. AssumeRoot is always denied."""

from collections.abc import Sequence

from moto.core.responses import ActionResult
from moto.iam.models import Role
from moto.sts.responses import TokenResponse

from mfa_kit.lab.aws import auth
from mfa_kit.lab.aws.account import LabAccount, Principal
from mfa_kit.lab.aws.codes import UNABLE
from mfa_kit.lab.aws.policies import Context, EvalDecision, PolicyStatement, conditions_hold, decide, parse_statements
from mfa_kit.lab.aws.rights import policies_of, request_context
from mfa_kit.lab.aws.wire import IamError

# How long credentials are valid by default, in seconds (API GetSessionToken, AssumeRole).
SESSION_SECONDS, ROLE_SECONDS = 43200, 3600


class LabSts(auth.AuthorizedResponse, TokenResponse):
    """STS's operations, as an extension of moto's response class."""

    def __init__(self, account: LabAccount) -> None:
        TokenResponse.__init__(self)
        self.account = account

    def get_caller_identity(self) -> ActionResult:
        """Answer GetCallerIdentity."""
        return ActionResult(
            {"UserId": self.caller.id, "Account": self.account.backend.account_id, "Arn": self.caller.arn}
        )

    def get_session_token(self) -> ActionResult:
        """Answer GetSessionToken. With a code, the session has MFA."""
        mfa = self._check_code()
        if self.caller.kind != "user":
            raise IamError("AccessDenied", "Cannot call GetSessionToken with session credentials")
        caller = Principal(
            arn=self.caller.arn,
            id=self.caller.id,
            user=self.caller.user,
            mfa=mfa,
            mfa_at=self.account.now() if mfa else None,
            kind="session",
        )
        return ActionResult({"Credentials": self._issue(caller, SESSION_SECONDS)})

    def get_federation_token(self) -> ActionResult:
        """Answer GetFederationToken. Without a policy, the federated user has no permissions."""
        if self.caller.kind != "user":
            raise IamError("AccessDenied", "Cannot call GetFederationToken with session credentials")
        name = self.operation.text("Name")
        account = self.account.backend.account_id
        user = {
            "FederatedUserId": f"{account}:{name}",
            "Arn": f"arn:{self.account.partition}:sts::{account}:federated-user/{name}",
        }
        caller = Principal(
            arn=user["Arn"],
            id=user["FederatedUserId"],
            user=self.caller.user,
            mfa=False,
            policy=self.operation.text("Policy") or '{"Statement": []}',
            kind="federated",
        )
        credentials = self._issue(caller, SESSION_SECONDS)
        return ActionResult({"Credentials": credentials, "FederatedUser": user, "PackedPolicySize": 6})

    def assume_role(self) -> ActionResult:
        """Answer AssumeRole. A code counts for the role's trust policy; the session itself has no MFA."""
        arn, name = self.operation.text("RoleArn"), self.operation.text("RoleSessionName")
        role = next((role for role in self.account.backend.roles.values() if role.arn == arn), None)
        mfa = self._check_code()
        if role is None or not self._may_assume(role, mfa=mfa):
            raise self._denial("AssumeRole", arn)
        start = f"arn:{self.account.partition}:sts::{self.account.backend.account_id}"
        caller = Principal(
            arn=f"{start}:assumed-role/{role.name}/{name}",
            id=f"{role.id}:{name}",
            role=role,
            mfa=False,
            policy=self.operation.optional("Policy"),
            kind="role",
        )
        credentials = self._issue(caller, ROLE_SECONDS)
        who = {"AssumedRoleId": caller.id, "Arn": caller.arn}
        return ActionResult({"Credentials": credentials, "AssumedRoleUser": who, "PackedPolicySize": 6})

    def assume_root(self) -> ActionResult:
        """Deny AssumeRoot: the lab has no organization."""
        raise self._denial("AssumeRoot", self.operation.text("TargetPrincipal"))

    def _denial(self, action: str, target: str) -> IamError:
        return IamError(
            "AccessDenied", f"User: {self.caller.arn} is not authorized to perform: sts:{action} on resource: {target}"
        )

    def _issue(self, caller: Principal, default: int) -> dict[str, str | float]:
        """Issue credentials that are valid for the requested number of seconds, or for `default` seconds."""
        key, session = self.account.issue(caller, self.operation.number("DurationSeconds", default))
        return {
            "AccessKeyId": key,
            "SecretAccessKey": session.secret,
            "SessionToken": session.token,
            "Expiration": session.expires,
        }

    def _check_code(self) -> bool:
        """Whether the request has a code. Raise AccessDenied if no device of the caller's user shows that code."""
        serial, code = self.operation.text("SerialNumber"), self.operation.text("TokenCode")
        if not serial and not code:
            return False
        user = self.caller.user
        if not serial or not code or user is None:
            raise IamError("AccessDenied", UNABLE)
        self.account.sts_codes.check(serial, code, user=user.id, now=self.account.now(), settings=self.account.settings)
        return True

    def _may_assume(self, role: Role, *, mfa: bool) -> bool:
        """Whether the role's trust policy admits the caller (user guide, "Policy evaluation logic").

        If the trust policy names the account but not the caller, the caller's own policies must allow the call too.
        """
        context = dict(request_context(self.operation, self.account, self.caller))
        if mfa:
            context |= {"aws:MultiFactorAuthPresent": "true", "aws:MultiFactorAuthAge": "0"}
        trusting = [each for each in parse_statements(role.assume_role_policy_document) if self._admits(each, context)]
        if not trusting or any(statement.denies for statement in trusting):
            return False
        own = decide(policies_of(self.caller.role or self.caller.user), "sts:AssumeRole", role.arn, context)
        return own is EvalDecision.ALLOW or (own is EvalDecision.IMPLICIT and self._is_named(trusting))

    def _is_named(self, statements: Sequence[PolicyStatement]) -> bool:
        """Whether a statement names the caller, and not just the whole account."""
        named = {principal for statement in statements for principal in statement.principals}
        return not named.isdisjoint(self._names())

    def _admits(self, statement: PolicyStatement, context: Context) -> bool:
        """Whether a statement of a trust policy applies to the caller."""
        account = self.account.backend.account_id
        matching = ("*", account, f"arn:{self.account.partition}:iam::{account}:root", *self._names())
        actions = statement.actions
        return (
            any(principal in matching for principal in statement.principals)
            and "sts:AssumeRole" in actions.patterns
            and not actions.negated
            and conditions_hold(statement, context)
        )

    def _names(self) -> tuple[str, ...]:
        """ARNs by which a trust policy may name the caller."""
        return (self.caller.arn, *([self.caller.role.arn] if self.caller.role else []))
