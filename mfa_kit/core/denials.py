"""What the text of an AWS denial says: who, which action, and which type of policy. The text is foreign.

Nothing of the text is used but ARNs, action names and IDs that match strict patterns. Links and commands in it are
neither printed nor followed. The text names one type of policy, though more may deny, and never the statement (IAM user
guide, "Troubleshoot access denied error messages"; AWS Security Blog, January 2026, on policy ARNs).
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.core.file_formats import JsonError, read_json
from mfa_kit.core.message import suggest


class PolicyType(StrEnum):
    """The type of policy that a denial names, in AWS's words."""

    CONTROL = "service control policy"
    RESOURCE_CONTROL = "resource control policy"
    IDENTITY = "identity-based policy"
    BOUNDARY = "permissions boundary"
    SESSION = "session policy"
    RESOURCE = "resource-based policy"
    TRUST = "role trust policy"
    ENDPOINT = "VPC endpoint policy"


# Who can change a policy of each type.
OWNERS = {
    PolicyType.CONTROL: "an administrator of the organization",
    PolicyType.RESOURCE_CONTROL: "an administrator of the organization",
    PolicyType.IDENTITY: "an administrator of the account",
    PolicyType.BOUNDARY: "an administrator of the account",
    PolicyType.SESSION: "whoever started the session",
    PolicyType.RESOURCE: "the owner of the resource",
    PolicyType.TRUST: "the owner of the role",
    PolicyType.ENDPOINT: "the owner of the VPC endpoint",
}
IN_ORGANIZATION = {PolicyType.CONTROL, PolicyType.RESOURCE_CONTROL}


class SessionKind(StrEnum):
    """The kind of credentials, as far as the ARN of their principal shows it."""

    USER = "user"
    ROLE = "role session"
    FEDERATED = "federated user"
    ROOT = "root"
    UNKNOWN = "unknown"


KINDS = (
    (":user/", SessionKind.USER),
    (":assumed-role/", SessionKind.ROLE),
    (":federated-user/", SessionKind.FEDERATED),
    (":root", SessionKind.ROOT),
)
# Of an ARN, only these characters are taken. A full stop or a comma at its end belongs to the sentence.
ARN = r"arn:aws[a-z-]{0,20}:[a-z0-9-]{1,40}:[a-z0-9-]{0,30}:(?:\d{12}|aws)?:[\w+=@,./:*-]{1,600}"
WHO = re.compile(rf"User: (?P<principal>{ARN}) is not authorized to perform: (?P<action>[a-z0-9-]+:\w+)", re.ASCII)
ON = re.compile(rf" on resource: (?P<resource>\*|{ARN})", re.ASCII)
EXPLICIT = re.compile(rf"with an explicit deny in (?:an?|the) (?P<type>{'|'.join(PolicyType)}|sessions policy)")
IMPLICIT = re.compile(rf"because no (?P<type>{'|'.join(PolicyType)}) allows")
POLICY = re.compile(rf"(?:with an explicit deny in|because no)[^:]{{1,200}}: (?P<arn>{ARN})", re.ASCII)
ENCODED = re.compile(r"Encoded authorization failure message: (?P<text>[\w=+/.-]{20,20000})", re.ASCII)
CONTROL_ARN = re.compile(r"policy/(?:o-[a-z0-9]{10,32}/)?(?:service|resource)_control_policy/(p-[0-9a-zA-Z_]{8,128})")
# The longest text that is searched. AWS's messages have a few hundred characters, and encoded ones some thousands.
LONGEST = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """What is known about a denial. A part that its text does not have is "" or None.

    `is_explicit` says whether AWS reports an explicit deny; for a service control policy, that may be wrong. `arn` is
    the ARN of the policy. `encoded` is a message that only sts:DecodeAuthorizationMessage can read, and `mfa` the value
    of aws:MultiFactorAuthPresent in a decoded message.
    """

    principal: str = ""
    action: str = ""
    resource: str = ""
    type: PolicyType | None = None
    is_explicit: bool | None = None
    arn: str = ""
    encoded: str = ""
    mfa: str | None = None

    @property
    def kind(self) -> SessionKind:
        """The kind of credentials that were denied."""
        return next((kind for part, kind in KINDS if part in self.principal), SessionKind.UNKNOWN)

    @property
    def account(self) -> str:
        """The ID of the principal's account, or ""."""
        return self.principal.split(":")[4] if self.principal else ""

    @property
    def control_policy(self) -> str:
        """The ID of the policy of the organization that the text names, or ""."""
        match = CONTROL_ARN.search(self.arn)
        return match[1] if match else ""

    @property
    def policy(self) -> str:
        """The policy in words: its type, and its ID or ARN if it is known; "" if nothing is known."""
        return f"{self.type or ''} {self.control_policy or self.arn}".strip()


def parse_denial(text: str) -> Denial | None:
    """Return what the text of a denial says, or None if it is not the text of a denial."""
    text = re.sub(r"\s+", " ", text[:LONGEST])
    who, encoded = WHO.search(text), ENCODED.search(text)
    reason = EXPLICIT.search(text) or IMPLICIT.search(text)
    if who is None and encoded is None and reason is None:
        return None
    return Denial(
        principal=_part(who, "principal"),
        action=_part(who, "action"),
        resource=_part(ON.search(text), "resource").rstrip(".,"),
        type=PolicyType(reason["type"].replace("sessions policy", "session policy")) if reason else None,
        is_explicit=reason.re is EXPLICIT if reason else None,
        arn=_part(POLICY.search(text), "arn").rstrip(".,:"),
        encoded=_part(encoded, "text").rstrip("."),
    )


def _part(match: re.Match[str] | None, name: str) -> str:
    return match[name] if match else ""


def decoded_denial(text: str) -> Denial | None:
    """Return what a decoded authorization message says. Its fields are in no model, so any of them may be missing."""
    try:
        message = read_json(text)
    except JsonError:
        return None
    if not isinstance(message, dict):
        return None
    context = message.get("context")
    context = context if isinstance(context, dict) else {}
    principal = context.get("principal")
    words = f"User: {principal.get('arn') if isinstance(principal, dict) else ''} is not authorized to perform: "
    found = parse_denial(f"{words}{context.get('action')} on resource: {context.get('resource')}") or Denial()
    explicit = message.get("explicitDeny")
    values = re.search(r'aws:MultiFactorAuthPresent".{0,60}?"value": ?"(true|false)"', text, re.DOTALL)
    return Denial(
        principal=found.principal,
        action=found.action,
        resource=found.resource,
        is_explicit=explicit if isinstance(explicit, bool) else None,
        mfa=values[1] if values else None,
    )


def advice(denial: Denial, *, mfa: bool | None = None) -> str:
    """Return what to do about a denial, as the end of a message. It depends on the kind of credentials.

    `mfa` is False if the policy that denied is known not to require MFA.
    """
    owner = OWNERS[denial.type] if denial.type else "an administrator"
    ask = f"ask {owner} about the {denial.policy}" if denial.policy else f"ask {owner}"
    if denial.kind in {SessionKind.ROLE, SessionKind.FEDERATED}:
        return f"sessions of this kind have no MFA, so MFA cannot help: {ask}"
    if denial.kind is SessionKind.ROOT or denial.is_explicit is False or mfa is False:
        return ask
    others = f"; otherwise {ask}" if denial.type in IN_ORGANIZATION else ""
    return suggest(
        f"if a policy requires MFA, use credentials with MFA, such as a profile with mfa_serial{others}; see",
        "help credentials",
    )


def without_links(text: str) -> str:
    """Return a foreign text up to its first link, without the words that lead to it."""
    before, link, _ = text.partition("://")
    return before.rpartition(" ")[0].removesuffix("Go to").rstrip(" .") if link else text
