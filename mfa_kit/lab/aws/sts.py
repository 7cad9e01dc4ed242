"""The lab's STS operations: caller identity, sessions with and without a code, roles, federation, root sessions."""

import json
from collections.abc import Sequence

from moto.core.responses import ActionResult
from moto.iam.models import Role
from moto.sts.responses import TokenResponse

from mfa_kit.lab.aws import auth
from mfa_kit.lab.aws.account import LabAccount, Principal
from mfa_kit.lab.aws.backend import aws_managed_policies
from mfa_kit.lab.aws.mfa_devices import UNABLE
from mfa_kit.lab.aws.organization import CREDENTIALS, IAM_SERVICE, SESSIONS, LabOrganization
from mfa_kit.lab.aws.policies import Context, EvalDecision, PolicyStatement, conditions_hold, decide, parse_statements
from mfa_kit.lab.aws.rights import BOUNDARY, IDENTITY, Layer, layers, request_context, root_arn
from mfa_kit.lab.aws.wire import IamError, decode_marker

# How long credentials are valid by default, in seconds (API GetSessionToken, AssumeRole, AssumeRoot).
SESSION_SECONDS, ROLE_SECONDS, ROOT_SECONDS = 43200, 3600, 900
# If the caller of AssumeRole is a role's session, the maximum duration of the new session, in seconds (user guide,
# "Role chaining").
CHAINED_SECONDS = 3600
# The name of AWS's policy for each task of AssumeRoot, and the feature that the task needs.
TASKS = {
    "IAMAuditRootUserCredentials": CREDENTIALS,
    "IAMCreateRootUserPassword": CREDENTIALS,
    "IAMDeleteRootUserCredentials": CREDENTIALS,
    "S3UnlockBucketPolicy": SESSIONS,
    "SQSUnlockQueuePolicy": SESSIONS,
}


class LabSts(auth.AuthorizedResponse, TokenResponse):
    """STS's operations, as an extension of moto's response class."""

    def __init__(self, account: LabAccount, organization: LabOrganization) -> None:
        TokenResponse.__init__(self)
        self.account, self.organization = account, organization

    def get_caller_identity(self) -> ActionResult:
        """Answer GetCallerIdentity."""
        return ActionResult({"UserId": self.caller.id, "Account": self.account.id, "Arn": self.caller.arn})

    def decode_authorization_message(self) -> ActionResult:
        """Answer DecodeAuthorizationMessage, for messages of this lab."""
        try:
            return ActionResult({"DecodedMessage": decode_marker(self.operation.text("EncodedMessage"))})
        except IamError:
            raise IamError("InvalidAuthorizationMessageException", "Message cannot be decoded.") from None

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
        account = self.account.id
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
        """Answer AssumeRole.

        A code in the request counts as MFA for the role's trust policy, but the new session has no MFA. The error is
        the same for a missing role, a closed account, and a trust policy that does not allow the caller.
        """
        arn, name = self.operation.text("RoleArn"), self.operation.text("RoleSessionName")
        mfa = self._check_code()
        target = self.organization.find(arn.split(":")[4]) if arn.count(":") >= auth.ARN_COLONS else None
        role = self._role(target, arn)
        if target is None or role is None:
            raise self._denial("AssumeRole", arn)
        source = self._check_trust(role, mfa=mfa)
        self._check_duration(role)
        start = f"arn:{target.partition}:sts::{target.id}"
        caller = Principal(
            arn=f"{start}:assumed-role/{role.name}/{name}",
            id=f"{role.id}:{name}",
            role=role,
            mfa=False,
            policy=self.operation.optional("Policy"),
            kind="role",
            source_identity=source,
        )
        who = {"AssumedRoleId": caller.id, "Arn": caller.arn}
        response = {"Credentials": self._issue(caller, ROLE_SECONDS, target), "AssumedRoleUser": who}
        return ActionResult({**response, "PackedPolicySize": 6, **({"SourceIdentity": source} if source else {})})

    def _role(self, target: LabAccount | None, arn: str) -> Role | None:
        """Return the role with this ARN, or None if the account `target` is closed or has no such role."""
        if target is None or not self.organization.is_open(target):
            return None
        return next((role for role in target.backend.roles.values() if role.arn == arn), None)

    def _check_trust(self, role: Role, *, mfa: bool) -> str | None:
        """Check that the caller may assume the role, and return the source identity of the new session.

        Raise IamError with the code AccessDenied if the caller may not assume the role. If the new session has a source
        identity, the caller also needs the permission sts:SetSourceIdentity, even if the caller's session has the same
        source identity. A caller whose session has a source identity cannot set a different one.
        """
        if not self._may("sts:AssumeRole", role, mfa=mfa):
            raise self._denial("AssumeRole", role.arn)
        before, source = self.caller.source_identity, self.operation.optional("SourceIdentity")
        source = source or before
        if source and (source != (before or source) or not self._may("sts:SetSourceIdentity", role, mfa=mfa)):
            raise self._denial("SetSourceIdentity", role.arn)
        return source

    def _check_duration(self, role: Role) -> None:
        """Raise IamError with the code ValidationError if the requested session is too long.

        The limit is the role's MaxSessionDuration, or one hour if the caller is a session of a role.
        """
        duration = self.operation.number("DurationSeconds", ROLE_SECONDS)
        if self.caller.kind == "role" and duration > CHAINED_SECONDS:
            raise IamError(
                "ValidationError",
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
            )
        if duration > int(role.max_session_duration or ROLE_SECONDS):
            raise IamError(
                "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            )

    def assume_root(self) -> ActionResult:
        """Answer AssumeRoot, for the management account and for a delegated administrator for IAM."""
        arn = root_arn(self.account, self.operation.text("TargetPrincipal"))
        target = self.organization.get(arn.split(":")[4]) if arn.endswith(":root") else None
        task = self._task()
        may = self.organization.administers(self.account, IAM_SERVICE) and TASKS[task] in self.organization.features
        if target is None or not may or not self.organization.is_open(target):
            raise self._denial("AssumeRoot", arn)
        policy = json.dumps(aws_managed_policies()[task]["Document"])
        caller = Principal(
            arn=arn, id=target.id, mfa=False, policy=policy, kind="root", source_identity=self.caller.source_identity
        )
        return ActionResult({"Credentials": self._issue(caller, ROOT_SECONDS, target)})

    def _task(self) -> str:
        """Return the name of the task policy in the request.

        Raise IamError with the code ValidationError if the request has none of the five policies in TASKS.
        """
        descriptor = self.operation.params.get("TaskPolicyArn")
        arn = str(descriptor.get("arn")) if isinstance(descriptor, dict) else ""
        start, _, task = arn.rpartition("/")
        if task not in TASKS or start != f"arn:{self.account.partition}:iam::aws:policy/root-task":
            raise IamError("ValidationError", f"Invalid task policy: {arn}")
        return task

    def _denial(self, action: str, target: str) -> IamError:
        return IamError(
            "AccessDenied", f"User: {self.caller.arn} is not authorized to perform: sts:{action} on resource: {target}"
        )

    def _issue(self, caller: Principal, default: int, target: LabAccount | None = None) -> dict[str, str | float]:
        """Issue credentials that are valid for the requested number of seconds, or for `default` seconds.

        The credentials are for the account `target`, or by default for the caller's account.
        """
        key, session = (target or self.account).issue(caller, self.operation.number("DurationSeconds", default))
        return {
            "AccessKeyId": key,
            "SecretAccessKey": session.secret,
            "SessionToken": session.token,
            "Expiration": session.expires,
        }

    def _check_code(self) -> bool:
        """Return whether the request has an MFA code.

        Raise IamError with the code AccessDenied if STS does not accept the code for the device in the request. Also
        raise it if the request has only a code or only a device, or if the caller is a role or root.
        """
        serial, code = self.operation.text("SerialNumber"), self.operation.text("TokenCode")
        if not serial and not code:
            return False
        user = self.caller.user
        if not serial or not code or user is None:
            raise IamError("AccessDenied", UNABLE)
        account = self.account
        refusal = account.sts_codes.refusal(serial, code, user=user.id, now=account.now(), settings=account.settings)
        if refusal:
            raise IamError("AccessDenied", refusal)
        return True

    def _may(self, action: str, role: Role, *, mfa: bool) -> bool:
        """Return whether the caller may do `action` on the role (user guide, "Policy evaluation logic").

        The role's trust policy must allow the caller, and each set of the caller's policies must allow the call.
        Identity-based policies, and the permissions boundary of a user, need not allow the call if the role is in the
        caller's account and its trust policy names the caller.
        """
        context = dict(request_context(self.operation, self.account, self.caller))
        if mfa:
            context |= {"aws:MultiFactorAuthPresent": "true", "aws:MultiFactorAuthAge": "0"}
        statements = parse_statements(role.assume_role_policy_document)
        trusting = [statement for statement in statements if self._admits(statement, action, context)]
        if not trusting or any(statement.denies for statement in trusting):
            return False
        named = role.account_id == self.account.id and self._is_named(trusting)
        silent = (IDENTITY,) if named and self.caller.role else (IDENTITY, BOUNDARY) if named else ()
        return all(self._allows(layer, action, role, context, silent) for layer in layers(self.account, self.caller))

    @staticmethod
    def _allows(layer: Layer, action: str, role: Role, context: Context, silent: Sequence[str]) -> bool:
        """Return whether one set of the caller's policies allows the call.

        `silent` has the kinds of the sets that need not allow it, because the role's trust policy names the caller.
        """
        own = decide(layer.documents, action, role.arn, context)
        return own is EvalDecision.ALLOW or (own is EvalDecision.IMPLICIT and layer.kind in silent)

    def _is_named(self, statements: Sequence[PolicyStatement]) -> bool:
        """Return whether one of the statements names the caller, and not only the caller's account."""
        named = {principal for statement in statements for principal in statement.principals}
        return not named.isdisjoint(self._names())

    def _admits(self, statement: PolicyStatement, action: str, context: Context) -> bool:
        """Return whether a statement of a trust policy applies to the caller, the action and the context."""
        account = self.account.id
        matching = ("*", account, f"arn:{self.account.partition}:iam::{account}:root", *self._names())
        actions = statement.actions
        return (
            any(principal in matching for principal in statement.principals)
            and action in actions.patterns
            and not actions.negated
            and conditions_hold(statement, context)
        )

    def _names(self) -> tuple[str, ...]:
        """Return the ARNs by which a trust policy may name the caller."""
        return (self.caller.arn, *([self.caller.role.arn] if self.caller.role else []))
