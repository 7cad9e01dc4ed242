"""STS as far as MFA meets it: sessions with and without a code, roles, federation. AssumeRoot is not allowed."""

from typing import Any

from moto.core.responses import ActionResult
from moto.sts.responses import TokenResponse

from mfa_kit.lab.aws import auth
from mfa_kit.lab.aws.account import LabAccount, Principal
from mfa_kit.lab.aws.codes import UNABLE
from mfa_kit.lab.aws.policies import EvalDecision, as_list, conditions_hold, decide, parse_statements
from mfa_kit.lab.aws.rights import policies_of_caller, request_context
from mfa_kit.lab.aws.wire import IamError


class LabSts(auth.AuthorizedResponse, TokenResponse):
    """The operations."""

    def __init__(self, account: LabAccount) -> None:
        TokenResponse.__init__(self)
        self.account = account

    def get_caller_identity(self) -> ActionResult:
        return ActionResult(
            {"UserId": self.caller.id, "Account": self.account.backend.account_id, "Arn": self.caller.arn}
        )

    def get_session_token(self) -> ActionResult:
        mfa = self._mfa()
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
        return ActionResult({"Credentials": self._issue(caller, self._get_param("DurationSeconds") or 43200)})

    def get_federation_token(self) -> ActionResult:
        if self.caller.kind != "user":
            raise IamError("AccessDenied", "Cannot call GetFederationToken with session credentials")
        name = self._get_param("Name")
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
            policy=self._get_param("Policy") or '{"Statement": []}',
            kind="federated",
        )
        credentials = self._issue(caller, self._get_param("DurationSeconds") or 43200)
        return ActionResult({"Credentials": credentials, "FederatedUser": user, "PackedPolicySize": 6})

    def assume_role(self) -> ActionResult:
        arn, name = self._get_param("RoleArn"), self._get_param("RoleSessionName")
        role = next((role for role in self.account.backend.roles.values() if role.arn == arn), None)
        mfa = self._mfa()
        if role is None or not self._trusted(role, mfa=mfa):
            raise IamError(
                "AccessDenied",
                f"User: {self.caller.arn} is not authorized to perform: sts:AssumeRole on resource: {arn}",
            )
        start = f"arn:{self.account.partition}:sts::{self.account.backend.account_id}"
        caller = Principal(
            arn=f"{start}:assumed-role/{role.name}/{name}",
            id=f"{role.id}:{name}",
            role=role,
            mfa=False,
            policy=self._get_param("Policy"),
            kind="role",
        )
        credentials = self._issue(caller, self._get_param("DurationSeconds") or 3600)
        who = {"AssumedRoleId": caller.id, "Arn": caller.arn}
        return ActionResult({"Credentials": credentials, "AssumedRoleUser": who, "PackedPolicySize": 6})

    def assume_root(self) -> ActionResult:
        target = self._get_param("TargetPrincipal")
        raise IamError(
            "AccessDenied",
            f"User: {self.caller.arn} is not authorized to perform: sts:AssumeRoot on resource: {target}",
        )

    def _issue(self, caller: Principal, seconds: int) -> dict[str, Any]:
        key, session = self.account.issue(caller, seconds)
        return {
            "AccessKeyId": key,
            "SecretAccessKey": session.secret,
            "SessionToken": session.token,
            "Expiration": session.expires,
        }

    def _mfa(self) -> bool:
        """Whether a code was given. Raise AccessDenied when it is not one of a device of the caller's user."""
        serial, code = self._get_param("SerialNumber"), self._get_param("TokenCode")
        if not serial and not code:
            return False
        user = self.caller.user
        if not serial or not code or user is None:
            raise IamError("AccessDenied", UNABLE)
        self.account.book.check(serial, code, user=user.id, now=self.account.now(), settings=self.account.settings)
        return True

    def _trusted(self, role: Any, *, mfa: bool) -> bool:
        """Whether the role's trust policy admits the caller, and his own policies where it names the whole account."""
        found = dict(request_context(self.params, self.account, self.caller))
        if mfa:
            found |= {"aws:MultiFactorAuthPresent": "true", "aws:MultiFactorAuthAge": "0"}
        account = self.account.backend.account_id
        whole = ("*", account, f"arn:{self.account.partition}:iam::{account}:root")
        named = [self.caller.arn, self.caller.role.arn if self.caller.role else self.caller.arn]
        admitted = by_name = False
        for statement in parse_statements(role.assume_role_policy_document):
            who = statement.get("Principal", {})
            principals = ["*"] if who == "*" else as_list(who.get("AWS", []))
            hit = any(one in (*whole, *named) for one in principals)
            if (
                not hit
                or "sts:AssumeRole" not in as_list(statement.get("Action", []))
                or not conditions_hold(statement, found)
            ):
                continue
            if statement["Effect"] == "Deny":
                return False
            admitted = True
            by_name = by_name or any(one in named for one in principals)
        own = decide(policies_of_caller(self.caller), "sts:AssumeRole", role.arn, found)
        return admitted and (own is EvalDecision.ALLOW or (by_name and own is EvalDecision.IMPLICIT))
