"""What a caller may do: the resource of each operation, the context of a request, IAM's words for a denial."""

from collections.abc import Mapping
from typing import Any

from mfa_kit.lab.aws.account import LabAccount, Principal
from mfa_kit.lab.aws.policies import Context, EvalDecision, decide
from mfa_kit.lab.aws.wire import IamError

OWN = ("EnableMFADevice", "DeactivateMFADevice")
DEVICE = ("DeleteVirtualMFADevice", "TagMFADevice", "UntagMFADevice", "ListMFADeviceTags")
FREE = ("GetCallerIdentity", "GetSessionToken")
# Parameter that names an entity, and what IAM calls such a one.
NAMED = (("UserName", "user"), ("GroupName", "group"), ("RoleName", "role"))
MAKES = ("CreateGroup", "CreateRole", "CreateUser")
# Lists of a whole kind, below a path where one is asked for.
LISTS = {"ListGroups": "group", "ListRoles": "role", "ListUsers": "user", "ListVirtualMFADevices": "mfa"}
# What GetSessionToken without MFA, and GetFederationToken, may call at all.
STS_ONLY = ("AssumeRole", "GetCallerIdentity")


def resource_of(action: str, params: Mapping[str, Any], account: LabAccount) -> str:
    """Find the ARN that policies are matched against: Service Authorization Reference, IAM and STS."""
    start = f"arn:{account.partition}:iam::{account.backend.account_id}"
    if action in DEVICE:
        return str(params["SerialNumber"])
    if action in LISTS:
        return f"{start}:{LISTS[action]}{params.get('PathPrefix') or '/'}"
    if action == "CreateVirtualMFADevice":
        return f"{start}:mfa{params.get('Path') or '/'}{params['VirtualMFADeviceName']}"
    backend = account.backend
    held = {"user": backend.users, "group": backend.groups, "role": backend.roles}
    for key, kind in NAMED:
        if name := params.get(key):
            entity = held[kind].get(name)
            return str(entity.arn) if entity else f"{start}:{kind}{params.get('Path') or '/'}{name}"
    return str(params.get("RoleArn") or params.get("PolicyArn") or params.get("PolicySourceArn") or "*")


def resource_words(action: str, params: Mapping[str, Any], on: str) -> str:
    """Name a resource as IAM's denials do: what a request names by its kind and name, everything else by its ARN."""
    if action not in (*MAKES, *DEVICE):
        for key, kind in NAMED:
            if name := params.get(key):
                return f"{kind} {name}"
        if "PolicyArn" in params:
            return f"policy {on}"
    return on


# Operations that mean the caller when they name no user.
SELF = (
    "ChangePassword",
    "CreateAccessKey",
    "DeleteAccessKey",
    "GetMFADevice",
    "GetUser",
    "ListAccessKeys",
    "ListMFADevices",
    "UpdateAccessKey",
)


def request_context(params: Mapping[str, Any], account: LabAccount, caller: Principal) -> Context:
    """Fill the condition keys. Long-term keys have no aws:MultiFactorAuthPresent at all."""
    found: dict[str, str | list[str]] = {
        "aws:CurrentTime": account.today().isoformat(),
        "aws:EpochTime": str(int(account.now())),
        "aws:PrincipalAccount": account.backend.account_id,
        "aws:PrincipalArn": caller.role.arn if caller.role else caller.arn,
        "aws:PrincipalType": "AssumedRole" if caller.role else "User",
        "aws:RequestedRegion": account.region,
        "aws:SecureTransport": "false",
        "aws:SourceIp": "127.0.0.1",
        "aws:userid": caller.id,
    }
    if caller.user is not None and caller.kind != "federated":
        found["aws:username"] = caller.user.name
    holder = caller.role or caller.user
    for tag in holder.tags or [] if holder is not None else []:
        found[f"aws:PrincipalTag/{tag['Key']}"] = tag["Value"]
    if caller.mfa is not None:
        found["aws:MultiFactorAuthPresent"] = str(caller.mfa).lower()
    if caller.mfa_at is not None:
        found["aws:MultiFactorAuthAge"] = str(int(account.now() - caller.mfa_at))
    if params.get("ExternalId"):
        found["sts:ExternalId"] = params["ExternalId"]
    tags = params.get("Tags") or []
    found |= {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in tags}
    keys = [tag["Key"] for tag in tags] or list(params.get("TagKeys") or [])
    return found | ({"aws:TagKeys": keys} if keys else {})


def policies_of_caller(caller: Principal) -> list[str]:
    """Collect the caller's identity-based policies."""
    return policies_of(caller.role or caller.user)


def policies_of(holder: Any) -> list[str]:
    """Collect the identity-based policies of a user, with those of his groups, or of a role."""
    groups = list(getattr(holder, "groups", {}).values())
    found: list[str] = []
    for one in [holder, *groups] if holder is not None else []:
        found += one.policies.values()
        found += [default_version(policy) for policy in one.managed_policies.values()]
    return found


def default_version(policy: Any) -> str:
    """Read the default version of a managed policy."""
    return next(str(version.document) for version in policy.versions if version.is_default)


def authorize(service: str, action: str, params: Mapping[str, Any], account: LabAccount, caller: Principal) -> None:
    """Raise AccessDenied unless the caller may do this."""
    if action == "GetCallerIdentity":
        return
    limited = caller.kind == "federated" or (caller.kind == "session" and not caller.mfa)
    if caller.kind in ("session", "federated") and (
        (service == "sts" and action not in STS_ONLY) or (service == "iam" and limited)
    ):
        code = "AccessDenied" if service == "sts" else "InvalidClientTokenId"
        said = f"Cannot call {action} with session credentials" if service == "sts" else TOKEN_INVALID
        raise IamError(code, said)
    wanted = [f"{service}:{action}"]
    if action == "CreateVirtualMFADevice" and params.get("Tags"):
        wanted.append("iam:TagMFADevice")
    on = resource_of(action, params, account)
    for name in wanted:
        words = _words(name, resource_words(action, params, on), caller)
        found = request_context(params, account, caller)
        _judge(name, on, found, caller, words=words, free=action in FREE or action == "AssumeRole")
    own = params.get("UserName")
    if (
        action in OWN
        and caller.kind == "user"
        and caller.user is not None
        and own
        and own.lower() == caller.user.name.lower()
    ):
        _own(caller)


def denial(service: str, action: str, params: Mapping[str, Any], account: LabAccount, caller: Principal) -> IamError:
    """Return what a caller is told whom no policy allows this."""
    name = f"{service}:{action}"
    on = resource_words(action, params, resource_of(action, params, account))
    return _silence(name, _words(name, on, caller), "identity-based policy")


def _silence(name: str, words: str, kind: str) -> IamError:
    return IamError("AccessDenied", f"{words} because no {kind} allows the {name} action")


def _words(name: str, on: str, caller: Principal) -> str:
    return f"User: {caller.arn} is not authorized to perform: {name} on resource: {on}"


TOKEN_INVALID = "The security token included in the request is invalid"  # noqa: S105 - a sentence of AWS's


def _judge(name: str, on: str, found: Context, caller: Principal, *, words: str, free: bool) -> None:
    layers = [("an identity-based policy", "identity-based policy", policies_of_caller(caller))]
    if caller.policy is not None:
        layers.append(("a session policy", "session policy", [caller.policy]))
    for which, kind, held in layers:
        match decide(held, name, on, found):
            case EvalDecision.EXPLICIT:
                raise IamError("AccessDenied", f"{words} with an explicit deny in {which}")
            case EvalDecision.IMPLICIT if not free:
                raise _silence(name, words, kind)
            case _:
                pass


def _own(caller: Principal) -> None:
    """Let a user who has a device change his own only in a session with MFA: AWS-2023-001."""
    if caller.user.mfa_devices:
        raise IamError(
            "AccessDenied",
            "To complete this action, please ensure that you are authenticated with an MFA device "
            "that is enabled for this user.",
        )
