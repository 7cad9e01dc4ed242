"""Authorizes requests: finds their resource and context, evaluates the policies, and makes IAM's denial message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from moto.iam.models import Group, ManagedPolicy, Role, User

from mfa_kit.lab.aws.policies import Context, EvalDecision, decide
from mfa_kit.lab.aws.wire import IamError, OperationRequest

if TYPE_CHECKING:
    from mfa_kit.lab.aws.account import LabAccount, Principal
    from mfa_kit.lab.aws.backend import LabUser


# Users with a device may call these operations for themselves only in a session with MFA (AWS security bulletin
# AWS-2023-001).
WITH_MFA = ("EnableMFADevice", "DeactivateMFADevice")
# Operations whose resource is a virtual device. The parameter SerialNumber is the device's ARN.
DEVICE = ("DeleteVirtualMFADevice", "TagMFADevice", "UntagMFADevice", "ListMFADeviceTags")
# The names that IAM's messages give to the sets of policies.
IDENTITY, CONTROL = "identity-based policy", "service control policy"
BOUNDARY = "permissions boundary"
EMPTY_POLICY = '{"Version": "2012-10-17", "Statement": []}'
# Operations that need an allow from service control policies, but not from other policies. An explicit deny in any
# policy still counts, except for GetCallerIdentity, which is always permitted. For AssumeRole, sts.py checks whether
# the other policies allow the call.
FREE = ("GetCallerIdentity", "GetSessionToken", "AssumeRole")
# Operations whose resource is the root user if an AssumeRoot session calls them without a user name.
OF_ROOT = (
    "CreateLoginProfile",
    "DeactivateMFADevice",
    "DeleteAccessKey",
    "DeleteLoginProfile",
    "GetAccessKeyLastUsed",
    "GetLoginProfile",
    "GetUser",
    "ListAccessKeys",
    "ListMFADevices",
    "ListSigningCertificates",
)
# The parameter that names an entity, and the kind of that entity in an ARN. AddUserToGroup and RemoveUserFromGroup name
# a user too, but their resource is the group.
NAMED = (("GroupName", "group"), ("UserName", "user"), ("RoleName", "role"))
CREATES = ("CreateGroup", "CreateRole", "CreateUser")
# Operations that list one kind of entity, and the name of this kind in an ARN. If the request has a path prefix, they
# list only the entities below this path.
LISTS = {"ListGroups": "group", "ListRoles": "role", "ListUsers": "user", "ListVirtualMFADevices": "mfa"}
# The only operations of STS that credentials of GetSessionToken ("session") and GetFederationToken ("federated") may
# call (API reference, GetSessionToken and GetFederationToken).
STS_ONLY = {"session": ("AssumeRole", "GetCallerIdentity"), "federated": ("GetCallerIdentity",)}
# Parameters of STS that are condition keys (Service Authorization Reference, STS).
STS_KEYS = (
    ("ExternalId", "sts:ExternalId"),
    ("RoleSessionName", "sts:RoleSessionName"),
    ("SourceIdentity", "sts:SourceIdentity"),
)
# Operations that act on the caller if the request names no user.
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


def root_arn(account: LabAccount, target: str) -> str:
    """Return the ARN of a root user. `target` is AssumeRoot's TargetPrincipal, which is this ARN or an account ID."""
    return target if target.startswith("arn:") else f"arn:{account.partition}:iam::{target}:root"


def resource_of(request: OperationRequest, account: LabAccount, caller: Principal) -> str:
    """Return the ARN that is compared with the Resource elements of policies, or `*` if the operation has no resource.

    Source: Service Authorization Reference, IAM and STS.
    """
    if request.service in ("organizations", "cloudtrail", "ec2"):
        return "*"
    if request.action == "AssumeRoot":
        return root_arn(account, request.text("TargetPrincipal"))
    if request.action in OF_ROOT and caller.kind == "root" and "UserName" not in request.params:
        return root_arn(account, account.id)
    arns = (request.text(key) for key in ("RoleArn", "PolicyArn", "PolicySourceArn"))
    return _iam_resource(request, account) or next(filter(None, arns), "*")


def _iam_resource(request: OperationRequest, account: LabAccount) -> str | None:
    """Return the ARN of the user, group, role or virtual device that a request to IAM is about.

    For an operation in LISTS, return the ARN of the path. For other requests, return None.
    """
    start = f"arn:{account.partition}:iam::{account.id}"
    path = request.text("Path") or "/"
    if request.action in DEVICE:
        return request.text("SerialNumber")
    if request.action in LISTS:
        return f"{start}:{LISTS[request.action]}{request.text('PathPrefix') or '/'}"
    if request.action == "CreateVirtualMFADevice":
        return f"{start}:mfa{path}{request.text('VirtualMFADeviceName')}"
    for key, kind in NAMED:
        if name := request.text(key):
            return _arn(account, kind, name) or f"{start}:{kind}{path}{name}"
    return None


def _arn(account: LabAccount, kind: str, name: str) -> str | None:
    """Return the ARN of an entity, or None if the entity does not exist. `kind` is user, group or role."""
    entity = account.backend.entities[kind].get(name)
    return entity.arn if entity else None


def resource_words(request: OperationRequest, resource: str) -> str:
    """Return the words for a resource in IAM's messages about denials.

    For a user, group or role, these are the type and the name (`user alice`). For a policy, they are `policy` and the
    ARN. For an entity that the request creates, and for any other resource, they are `resource` itself.
    """
    if request.action not in (*CREATES, *DEVICE):
        for key, kind in NAMED:
            if name := request.text(key):
                return f"{kind} {name}"
        if "PolicyArn" in request.params:
            return f"policy {resource}"
    return resource


def principal_tags(holder: LabUser | Role | None) -> dict[str, str]:
    """Return the condition keys with the tags of a user or role."""
    tags = (holder.tags or []) if holder is not None else []
    return {f"aws:PrincipalTag/{tag['Key']}": tag["Value"] for tag in tags}


def request_context(request: OperationRequest, account: LabAccount, caller: Principal) -> Context:
    """Return the condition keys of a request (user guide, "AWS global condition context keys").

    The key aws:MultiFactorAuthPresent is missing if the request is signed with a user's own access keys. Only requests
    of AssumeRoot sessions have aws:AssumedRoot. The lab has no service that sends requests with its caller's
    credentials, so aws:ViaAWSService is always false.
    """
    context: dict[str, str | list[str]] = {
        "aws:CurrentTime": account.today().isoformat(),
        "aws:EpochTime": str(int(account.now())),
        "aws:PrincipalAccount": account.id,
        "aws:PrincipalArn": caller.role.arn if caller.role else caller.arn,
        "aws:PrincipalType": "Account" if caller.kind == "root" else "AssumedRole" if caller.role else "User",
        "aws:RequestedRegion": request.region or account.region,
        "aws:SecureTransport": "false",
        "aws:SourceIp": "127.0.0.1",
        "aws:ViaAWSService": "false",
        "aws:userid": caller.id,
    }
    if caller.user is not None and caller.kind != "federated":
        context["aws:username"] = caller.user.name
    if caller.source_identity:
        context["aws:SourceIdentity"] = caller.source_identity
    if caller.kind == "root":
        context["aws:AssumedRoot"] = "true"
    context |= principal_tags(caller.role or caller.user)
    return {**context, **_mfa_keys(account, caller), **_organization_keys(account), **_request_keys(request)}


def _organization_keys(account: LabAccount) -> dict[str, str | list[str]]:
    """Return the condition keys about the account's organization, or {} if the account is in no organization."""
    if account.membership is None:
        return {}
    return {
        "aws:PrincipalOrgID": account.membership.organization_id,
        "aws:PrincipalOrgPaths": [account.membership.path],
    }


def _request_keys(request: OperationRequest) -> dict[str, str | list[str]]:
    tags = request.tags()
    context: dict[str, str | list[str]] = {f"aws:RequestTag/{key}": value for key, value in tags}
    context |= {key: request.text(name) for name, key in STS_KEYS if request.text(name)}
    if task := request.params.get("TaskPolicyArn"):
        context["sts:TaskPolicyArn"] = str(task["arn"]) if isinstance(task, dict) else ""
    keys = [key for key, _ in tags] or request.texts("TagKeys")
    return context | ({"aws:TagKeys": keys} if keys else {})


def _mfa_keys(account: LabAccount, caller: Principal) -> dict[str, str]:
    context: dict[str, str] = {}
    if caller.mfa is not None:
        context["aws:MultiFactorAuthPresent"] = str(caller.mfa).lower()
    if caller.mfa_at is not None:
        context["aws:MultiFactorAuthAge"] = str(int(account.now() - caller.mfa_at))
    return context


def policies_of(holder: LabUser | Role | None) -> list[str]:
    """Return the identity-based policies of a role, or of a user and the user's groups, as JSON."""
    return [document for entity in _entities(holder) for document in _documents(entity)]


def boundary_of(account: LabAccount, holder: LabUser | Role | None) -> str | None:
    """Return the permissions boundary of a user or role, as JSON, or None if it has none.

    A boundary whose policy was deleted allows nothing.
    """
    arn = holder.permissions_boundary_arn if holder is not None else None
    if not arn:
        return None
    policy = account.backend.managed_policies.get(arn)
    return default_version(policy) if policy is not None else EMPTY_POLICY


def _entities(holder: LabUser | Role | None) -> Iterator[LabUser | Role | Group]:
    if holder is not None:
        yield holder
    if isinstance(holder, User):
        yield from holder.groups.values()


def _documents(entity: LabUser | Role | Group) -> Iterator[str]:
    yield from entity.policies.values()
    for policy in entity.managed_policies.values():
        yield default_version(policy)


def default_version(policy: ManagedPolicy) -> str:
    """Return the default version of a managed policy, as JSON."""
    return next(str(version.document) for version in policy.versions if version.is_default)


class Layer(NamedTuple):
    """One set of policies that decides about a request.

    `kind` is the name of the set in IAM's messages, and `article` the article before this name (a or an). `documents`
    are the policies, as JSON. With `must_allow`, at least one policy must allow the request; otherwise it is enough
    that no policy denies the request. `arns` are the ARNs of the policies if IAM's messages name them, or ().
    """

    article: str
    kind: str
    documents: Sequence[str]
    must_allow: bool = True
    arns: Sequence[str] = ()


def authorize(request: OperationRequest, account: LabAccount, caller: Principal) -> None:
    """Raise IamError if the caller's policies or credentials do not permit this request.

    The code is InvalidClientTokenId for session credentials that can never call IAM, otherwise AccessDenied.
    """
    if request.action == "GetCallerIdentity":
        return
    _check_session(request, caller)
    _check_policies(request, account, caller)
    if request.action in WITH_MFA:
        _check_self_management(request, caller)


def _check_session(request: OperationRequest, caller: Principal) -> None:
    """Raise IamError if the caller's credentials can never call the operation, whatever the policies say.

    Of STS's operations, credentials of GetSessionToken and GetFederationToken can call only those in STS_ONLY. For
    another operation, the code is AccessDenied. Credentials of GetFederationToken, and credentials of GetSessionToken
    without MFA, cannot call IAM. For a call to IAM, the code is InvalidClientTokenId.
    """
    limited = caller.kind == "federated" or (caller.kind == "session" and not caller.mfa)
    if request.service == "sts" and request.action not in STS_ONLY.get(caller.kind, (request.action,)):
        raise IamError("AccessDenied", f"Cannot call {request.action} with session credentials")
    if request.service == "iam" and limited:
        raise IamError("InvalidClientTokenId", "The security token included in the request is invalid")


def _check_policies(request: OperationRequest, account: LabAccount, caller: Principal) -> None:
    """Raise IamError with the code AccessDenied if the policies do not allow the operation.

    If a CreateVirtualMFADevice request has tags, the policies must also allow iam:TagMFADevice.
    """
    resource = resource_of(request, account, caller)
    context = request_context(request, account, caller)
    names = [f"{request.service}:{request.action}"]
    if request.action == "CreateVirtualMFADevice" and request.tags():
        names.append("iam:TagMFADevice")
    sets = list(layers(account, caller))
    for name in names:
        words = _denial_words(name, resource_words(request, resource), caller)
        _check_action(name, resource, context, sets, words=words)


def _check_action(name: str, resource: str, context: Context, sets: Sequence[Layer], *, words: str) -> None:
    """Raise IamError if the sets of policies do not allow one action. Its message begins with `words`."""
    decisions = [decide(layer.documents, name, resource, context) for layer in sets]
    if EvalDecision.EXPLICIT in decisions:
        layer = sets[decisions.index(EvalDecision.EXPLICIT)]
        texts = zip(layer.arns, layer.documents, strict=False)
        denying = [arn for arn, text in texts if decide([text], name, resource, context) is EvalDecision.EXPLICIT]
        raise _explicit_denial(layer, words, denying)
    for layer, decision in zip(sets, decisions, strict=True):
        free = layer.kind != CONTROL and name.partition(":")[2] in FREE
        if decision is EvalDecision.IMPLICIT and layer.must_allow and not free:
            raise _implicit_denial(name, words, layer.kind)


def _explicit_denial(layer: Layer, words: str, arns: Sequence[str]) -> IamError:
    """Return the error for a request that policies in `layer` deny. `arns` are the ARNs of these policies, or ().

    The message ends with the first ARN (AWS Security Blog, January 2026, on policy ARNs in messages about denials).
    """
    message = f"{words} with an explicit deny in {layer.article} {layer.kind}"
    return IamError("AccessDenied", ": ".join([message, *arns[:1]]))


def layers(account: LabAccount, caller: Principal) -> Iterator[Layer]:
    """Yield the sets of policies that each decide about a request (user guide, "Policy evaluation logic").

    The task policy of an AssumeRoot session need not allow the request, because task policies contain only denials.
    """
    for documents in account.membership.control_policies() if account.membership else ():
        yield Layer("a", CONTROL, [*documents.values()], arns=[*documents])
    if caller.kind != "root":
        holder = caller.role or caller.user
        yield Layer("an", IDENTITY, policies_of(holder))
        if (boundary := boundary_of(account, holder)) is not None:
            yield Layer("a", BOUNDARY, [boundary])
    if caller.policy is not None:
        yield Layer("a", "session policy", [caller.policy], must_allow=caller.kind != "root")


def _check_self_management(request: OperationRequest, caller: Principal) -> None:
    """Raise IamError if a user with an MFA device enables or deactivates a device of their own without MFA.

    The code is AccessDenied. Source: AWS security bulletin AWS-2023-001.
    """
    if caller.kind != "user" or caller.user is None or not caller.user.mfa_devices:
        return
    if request.text("UserName").lower() == caller.user.name.lower():
        raise IamError(
            "AccessDenied",
            "To complete this action, please ensure that you are authenticated with an MFA device "
            "that is enabled for this user.",
        )


def denial(request: OperationRequest, account: LabAccount, caller: Principal) -> IamError:
    """Return the error AccessDenied for a call that no identity-based policy allows."""
    name = f"{request.service}:{request.action}"
    words = _denial_words(name, resource_words(request, resource_of(request, account, caller)), caller)
    return _implicit_denial(name, words, IDENTITY)


def _implicit_denial(name: str, words: str, kind: str) -> IamError:
    return IamError("AccessDenied", f"{words} because no {kind} allows the {name} action")


def _denial_words(name: str, resource: str, caller: Principal) -> str:
    return f"User: {caller.arn} is not authorized to perform: {name} on resource: {resource}"
