"""Evaluates IAM policies for a request. If a condition cannot be evaluated, the decision may be UNKNOWN.

Sources: the pages "Policy evaluation logic", "IAM JSON policy elements" and "Global condition context keys" of the IAM
user guide. The evaluator supports the conditions that policies about MFA use. Times in a policy are compared only if
they are past, because a later time would change the decision. The lab has another evaluator, which
shares no code with this one. The second half is about the policies of the users, groups and roles in a snapshot, and
why some of them cannot be evaluated.
"""

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from itertools import product

from mfa_kit.account.snapshot import ControlLevel, ControlPolicy, Entity, Snapshot, SnapshotPart
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.file_formats import JsonError, read_json
from mfa_kit.core.text import iso_time

# Condition keys of a request and their values. None means that the request does not have the key. For a key that is not
# in the mapping, it is unknown whether the request has it. A name that ends with `/`, such as `aws:PrincipalTag/`,
# stands for all keys that begin with it and are not in the mapping.
RequestContext = Mapping[str, str | None]


# The texts of the service control policies that limit a principal, by level: first those of the organization's root,
# then those of each unit, then those of the account. () if none apply.
Levels = tuple[tuple[str, ...], ...]


class ValuePattern(str):
    """The value of a condition key if only a pattern is known that it matches, such as `AIDA*` for a user's ID."""

    __slots__ = ()


MFA = "aws:MultiFactorAuthPresent"
MFA_AGE = "aws:MultiFactorAuthAge"
# The condition keys about MFA in three kinds of requests. A request signed with long-term access keys (PLAIN_KEYS) has
# neither of them, and no token. In a console session without MFA (NO_MFA), aws:MultiFactorAuthPresent is false.
PLAIN_KEYS: RequestContext = {MFA: None, MFA_AGE: None, "aws:TokenIssueTime": None}
NO_MFA: RequestContext = {MFA: "false", MFA_AGE: None}
WITH_MFA: RequestContext = {MFA: "true", MFA_AGE: "60"}
# Condition keys of a request that a user or role sends itself, over HTTPS ("AWS global condition context keys").
DIRECT: RequestContext = {
    "aws:assumedroot": None,
    "aws:calledvia": None,
    "aws:calledviafirst": None,
    "aws:calledvialast": None,
    "aws:principalisawsservice": "false",
    "aws:securetransport": "true",
    "aws:viaawsservice": "false",
}
# The condition keys whose values are times. A session begins after the snapshot, so its aws:TokenIssueTime is later.
TIMES = {"aws:currenttime", "aws:epochtime", "aws:tokenissuetime"}
# The region of requests to IAM, by partition ("AWS GovCloud (US) User Guide", and the endpoints in botocore).
IAM_REGIONS = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
# An operator that compares times. The group is there if it holds for a later time than the policy's.
COMPARES_TIME = re.compile(r"(?:Date|Numeric)(?:LessThan(?:Equals)?|Equals|(GreaterThan(?:Equals)?|NotEquals))")
# Samples of the actions that are not for sign-in. A policy that demands MFA denies all of them to requests without it.
WORK = ("ec2:DescribeInstances", "s3:ListAllMyBuckets", "iam:CreateUser")
# Actions that users need for their own sign-in. Policies usually allow them without MFA, so they are not in WORK.
SIGN_IN = re.compile(
    r"sts:getsessiontoken|iam:(.*mfa.*|getuser|getloginprofile|changepassword|getaccountpasswordpolicy)"
)
# Prefixes of actions. In a statement about such an action, a resource with a policy variable is the calling user, or a
# credential of this user.
OWN_SERVICES = ("iam:", "sts:", "*")
# An empty policy. As a trust policy, it lets no principal assume the role.
NOBODY = '{"Statement": []}'
# A policy that replaces a permissions boundary whose text could not be read or is not a policy. It allows everything
# under a condition that cannot be evaluated, so what it allows is unknown.
UNREAD = '{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Unread": {"it": "is"}}}]}'
# A policy that replaces a service control policy whose text could not be read. It may deny and allow everything.
UNREAD_CONTROL = json.dumps(
    {
        "Statement": [
            {"Effect": effect, "Action": "*", "Resource": "*", "Condition": {"Unread": {"it": "is"}}}
            for effect in ("Allow", "Deny")
        ]
    }
)
# The policy language version that supports policy variables.
VARIABLES = "2012-10-17"
LITERAL = {"${*}": "*", "${?}": "?", "${$}": "$"}


class Decision(StrEnum):
    """The decision of policies on a request. UNKNOWN means that it depends on a condition that cannot be evaluated."""

    ALLOW = "allow"
    IMPLICIT = "implicit deny"
    EXPLICIT = "explicit deny"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class IamStatement:
    """One statement of a policy, with its lists as tuples.

    `allow` is true for the Effect Allow, and false for Deny. `but_actions` is its NotAction and `but_resources` its
    NotResource. `principals` has the kind (such as `AWS`) and the name of each principal. `lines` has the operator, key
    and values of each line of its Condition. `fills` says whether it has policy variables, and the policy's language
    version (its element Version) supports them. In an older language version, `${...}` is literal text.
    """

    sid: str = ""
    allow: bool
    actions: tuple[str, ...] = ()
    but_actions: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    but_resources: tuple[str, ...] = ()
    principals: tuple[tuple[str, str], ...] = ()
    lines: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    fills: bool = True


def _items(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _texts(value: object) -> tuple[str, ...]:
    """Return a string or a list of strings as a tuple. Raise TypeError for any other value."""
    return tuple(_text(entry) for entry in _items(value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _values(value: object) -> tuple[str, ...]:
    """Return the values of a line of a Condition as strings. Raise TypeError for an object or null."""
    return tuple(
        str(entry).lower() if isinstance(entry, bool | int | float) else _text(entry) for entry in _items(value)
    )


def _mapping(value: object) -> Mapping[str, object]:
    """Return a JSON object. Raise TypeError for any other value."""
    if not isinstance(value, dict):
        raise TypeError
    return value


def _statement(row: Mapping[str, object], *, version: object) -> IamStatement:
    if row["Effect"] not in ("Allow", "Deny"):
        raise KeyError("valid Effect (Allow or Deny)")
    if "Action" not in row and "NotAction" not in row:
        raise KeyError("Action")
    return IamStatement(
        sid=str(row.get("Sid", "")),
        allow=row["Effect"] == "Allow",
        actions=_texts(row.get("Action", [])),
        but_actions=_texts(row.get("NotAction", [])),
        resources=_texts(row.get("Resource", [])),
        but_resources=_texts(row.get("NotResource", [])),
        principals=_principals(row.get("Principal", {})),
        lines=tuple(
            (operator, key, _values(values))
            for operator, keys in _mapping(row.get("Condition", {})).items()
            for key, values in _mapping(keys).items()
        ),
        fills=version == VARIABLES and "${" in str(row),
    )


def _principals(value: object) -> tuple[tuple[str, str], ...]:
    """Return the kind and the name of each principal. A name without a kind has the kind `AWS`."""
    if isinstance(value, str):
        return (("AWS", value),)
    return tuple((kind, name) for kind, names in _mapping(value).items() for name in _texts(names))


def statements(document: str) -> tuple[IamStatement, ...]:
    """Return the statements of a policy document. Raise UsageFault for text that is not a policy."""
    policy_statements, why = _parse(document)
    if why is not None:
        raise UsageFault(
            f"this is not an IAM policy: {why}",
            'write JSON: {"Version": "2012-10-17", "Statement": [{"Effect": ..., "Action": ..., "Resource": ...}]}',
        )
    return policy_statements


def policy_flaw(document: str) -> str | None:
    """Return a phrase that says why a text is not an IAM policy, or None if the text is a policy."""
    return _parse(document)[1]


@lru_cache(maxsize=4096)
def _parse(document: str) -> tuple[tuple[IamStatement, ...], str | None]:
    """Return a pair: the statements of a policy document, and None.

    If the text is not a policy, the pair is () and a phrase that says why.
    """
    try:
        policy = _mapping(read_json(document))
        rows = _items(policy["Statement"])
        return tuple(_statement(_mapping(row), version=policy.get("Version")) for row in rows), None
    except JsonError as error:
        why = str(error)
    except KeyError as error:
        why = f"it has no {error.args[0]}" if error.args[0] == "Statement" else f"a statement has no {error.args[0]}"
    except (TypeError, RecursionError):
        why = "a part of it does not follow the policy grammar"
    return (), why


@lru_cache(maxsize=8192)
def _pattern(pattern: str) -> re.Pattern[str]:
    """Compile a pattern in which `*` and `?` are wildcards, `${*}` is the character `*`, and brackets are literal.

    The text between two `*` is matched only at its first occurrence. If the rest of the pattern does not match after
    that, it does not match after a later occurrence either, and trying all of them would take far too long.
    """
    runs = [""]
    for part in re.split(r"(\$\{[*?$]\}|[*?])", pattern):
        if part == "*":
            runs.append("")
        else:
            runs[-1] += "." if part == "?" else re.escape(LITERAL.get(part, part))
    first, *between = runs
    last = f".*{between.pop()}" if between else ""
    return re.compile(first + "".join(f"(?>.*?{run})" for run in between if run) + last, re.DOTALL)


def like(pattern: str, value: str) -> bool:
    """Whether a value matches a pattern, with the rules for actions, resources and StringLike."""
    return pattern == "*" or _pattern(pattern).fullmatch(value) is not None


@lru_cache(maxsize=8192)
def overlap(pattern: str, other: str, *, ignore_case: bool = False) -> str | None:
    """Return a short text that two patterns with `*` and `?` both match, or None if there is no such text.

    Where both patterns have a `*`, the result has one too. The result is then a pattern, and both patterns match every
    text that it matches.
    """
    queue = deque([(0, 0, "")])
    places = {(0, 0)}
    while queue:
        position, other_position, text = queue.popleft()
        a, b = pattern[position : position + 1], other[other_position : other_position + 1]
        if not a and not b:
            return text
        same = a == b or (ignore_case and a.lower() == b.lower())
        for step in _steps(a, b, same=same):
            place = (position + step[0], other_position + step[1])
            if place not in places:
                places.add(place)
                queue.append((*place, text + step[2]))
    return None


def overlaps(names: Iterable[str], others: Iterable[str]) -> set[str]:
    """Return a text, or a pattern of texts, that matches both a name and another, for each pair that has one."""
    return {text for name, other in product(names, others) if (text := overlap(name, other)) is not None}


def _steps(a: str, b: str, *, same: bool) -> Iterator[tuple[int, int, str]]:
    """Yield the possible next steps in building a text that matches two patterns.

    `a` and `b` are the next characters of the patterns; "" is the end of a pattern. A step is a tuple: how many
    characters to advance in the first pattern and in the second, and the text to add. `same` says whether the
    characters are equal.
    """
    if a == b == "*":
        yield from ((1, 1, "*"), (1, 0, "*"), (0, 1, "*"))
    elif a == "*":
        yield from ((1, 0, ""), *([(0, 1, b)] if b else []))
    elif b == "*":
        yield from ((0, 1, ""), *([(1, 0, a)] if a else []))
    elif character := _character_of_both(a, b, same=same):
        yield 1, 1, character


def _character_of_both(a: str, b: str, *, same: bool) -> str:
    """Return a character that `a` and `b` both match, or "" if there is none.

    `a` and `b` are characters of two patterns, such as `?`.
    """
    if not a or not b or not (same or "?" in {a, b}):
        return ""
    return b if a == "?" else a


def _overlaps(pattern: str, other: str) -> bool:
    """Whether a text may match both patterns. In two patterns of ARNs, a `*` matches no colon before the resource."""
    parts, others = pattern.split(":", 5), other.split(":", 5)
    pairs = zip(parts, others, strict=True) if len(parts) == len(others) else ((pattern, other),)
    return all(overlap(*pair, ignore_case=True) is not None for pair in pairs)


def _like_arn(pattern: str, value: str) -> bool:
    patterns, parts = pattern.split(":", 5), value.split(":", 5)
    return len(patterns) == len(parts) and all(map(like, patterns, parts))


TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda policy_value, value: policy_value == value,
    "StringEqualsIgnoreCase": lambda policy_value, value: policy_value.lower() == value.lower(),
    "StringLike": like,
    "ArnEquals": _like_arn,
    "ArnLike": _like_arn,
    "Bool": lambda policy_value, value: policy_value.lower() == value.lower(),
    "NumericEquals": lambda policy_value, value: float(value) == float(policy_value),
    "NumericLessThan": lambda policy_value, value: float(value) < float(policy_value),
    "NumericLessThanEquals": lambda policy_value, value: float(value) <= float(policy_value),
    "NumericGreaterThan": lambda policy_value, value: float(value) > float(policy_value),
    "NumericGreaterThanEquals": lambda policy_value, value: float(value) >= float(policy_value),
}
NEGATED: Mapping[str, str] = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NumericNotEquals": "NumericEquals",
}


def _filled(text: str, context: RequestContext) -> "str | _Anything | None":
    """Return a text with its policy variables replaced by their values in the request.

    Return None if a variable has neither a value in the request nor a default, and ANYTHING if its value is unknown.
    """
    lacking: list[_Anything | None] = []

    def value(match: re.Match[str]) -> str:
        if match[0] in LITERAL:
            return match[0]
        name, _, default = match[1].partition(",")
        request_value = _look(context, name.strip())
        if isinstance(request_value, ValuePattern):
            request_value = ANYTHING
        if isinstance(request_value, str):
            return re.sub(r"[*?]", r"${\g<0>}", request_value)
        if request_value is None and default:
            return default.strip().strip("'")
        lacking.append(request_value)
        return ""

    if "${" not in text:
        return text
    filled = re.sub(r"\$\{([^}]*)\}", value, text)
    if not lacking:
        return filled
    return None if None in lacking else ANYTHING


class _Anything:
    """The type of ANYTHING, which is used for an unknown value of a condition key."""


ANYTHING = _Anything()


def _look(context: RequestContext, key: str) -> str | _Anything | None:
    """Return the value of a condition key: None if the request does not have it, and ANYTHING if it is unknown.

    Names of keys are case-insensitive. A name that ends with `/` stands for all keys that begin with it and that the
    context does not name. A context with the ARN of the caller implies other keys.
    """
    if key in context:
        return context[key]
    lower_key = key.lower()
    known = {name.lower(): value for name, value in context.items()}
    family = f"{lower_key.partition('/')[0]}/"
    if lower_key in known or family in known:
        return known.get(lower_key, known.get(family))
    return _implied(lower_key, known)


def _implied(key: str, known: RequestContext) -> str | _Anything | None:
    """Return the value of a condition key that follows from the caller's ARN, or from the time of the request.

    Unique IDs of users begin with `AIDA`, and those of roles with `AROA` (IAM user guide, "IAM identifiers").
    """
    if key in TIMES:
        return known.get("aws:currenttime", ANYTHING)
    arn = known.get("aws:principalarn")
    if arn is None or key in DIRECT:
        return ANYTHING if arn is None else DIRECT[key]
    if key == "aws:principalaccount":
        return arn.split(":")[4]
    return ValuePattern("AROA*:*" if ":role/" in arn else "AIDA*") if key == "aws:userid" else ANYTHING


def _holds_for(statement: IamStatement, action: str, resource: str, context: RequestContext) -> bool | None:
    """Return whether all conditions of a statement hold for a request about a resource, or None if that is unknown.

    Requests to IAM have one region in each partition. If the resource is the caller, it has the caller's tags.
    """
    answer = holds(statement, context)
    arn = context.get("aws:PrincipalArn")
    # These keys are unknown in `context`, so they cannot change a known answer.
    if answer is not None or arn is None or not action.lower().startswith("iam:"):
        return answer
    region = IAM_REGIONS.get(arn.split(":")[1])
    keys: dict[str, str | None] = {"aws:RequestedRegion": region} if region else {}
    if resource == arn:
        tags = [(name, value) for name, value in context.items() if name.startswith("aws:PrincipalTag/")]
        for start in ("aws:Resource", "iam:Resource"):
            keys |= {name.replace("aws:Principal", start): value for name, value in tags}
    return holds(statement, {**keys, **context})


def _compares_past(operator: str, policy_values: Sequence[str], now: str) -> bool | None:
    """Return whether an operator holds for a time from `now` on. Return None if a time in the policy is not past."""
    match = COMPARES_TIME.fullmatch(operator)
    try:
        past = all(_seconds(policy_value) < _seconds(now) for policy_value in policy_values)
    except ValueError:
        return None
    return match[1] is not None if match and past else None


def _seconds(time: str) -> float:
    """Return a time as Unix seconds, from ISO 8601 or Unix seconds. Raise ValueError for another text."""
    if time.isdecimal():
        return float(time)
    date = datetime.fromisoformat(time)
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _fill(statement: IamStatement, texts: Sequence[str], context: RequestContext) -> "tuple[list[str], bool]":
    """Return texts with their policy variables replaced, and whether a text has a variable with an unknown value.

    A text is left out if one of its variables has no value or an unknown value. In the second case, the text could
    match anything.
    """
    if not statement.fills:
        return list(texts), False
    filled = [_filled(text, context) for text in texts]
    return [text for text in filled if isinstance(text, str)], ANYTHING in filled


def _line(
    statement: IamStatement, operator: str, key: str, policy_values: Sequence[str], context: RequestContext
) -> bool | None:
    """Return whether one line of a statement's Condition holds for a request, or None if that is unknown."""
    request_value = _look(context, key)
    name = _operator(operator)
    if isinstance(request_value, _Anything):
        return None
    if name == "Null":
        return str(request_value is None).lower() in map(str.lower, policy_values)
    if request_value is None:
        return _holds_without_key(operator)
    if key.lower() in TIMES:
        return _compares_past(name, policy_values, request_value)
    return _matches(statement, name, policy_values, request_value, context)


@lru_cache(maxsize=256)
def _operator(operator: str) -> str:
    """Return an operator without its quantifier (`ForAllValues:`) and without `IfExists`."""
    return operator.rpartition(":")[2].removesuffix("IfExists")


def _holds_without_key(operator: str) -> bool:
    """Whether a line of a Condition holds for a request without the line's condition key.

    An absent key satisfies ...IfExists, ForAllValues, and negated operators without a quantifier (IAM user guide,
    condition operators).
    """
    quantifier = operator.rpartition(":")[0]
    negated = _operator(operator) in NEGATED and not quantifier
    return operator.endswith("IfExists") or quantifier == "ForAllValues" or negated


def _matches(
    statement: IamStatement, name: str, policy_values: Sequence[str], request_value: str, context: RequestContext
) -> bool | None:
    """Return whether the operator `name` holds for `request_value` and one of the policy's values, `policy_values`.

    A negated operator must hold for all of the policy's values. Return None if the result is unknown.
    """
    test = TESTS.get(NEGATED.get(name, name))
    if test is None:
        return None
    filled, others = _fill(statement, policy_values, context)
    if isinstance(request_value, ValuePattern):
        may_match = any(_overlaps(text, request_value) for text in filled)
        return None if others or may_match else name in NEGATED
    try:
        matched = any(test(policy_value, request_value) for policy_value in filled)
    except ValueError:  # the operator compares numbers, and a value is not a number
        return False
    return None if others and not matched else matched != (name in NEGATED)


def both(*answers: bool | None) -> bool | None:
    """Return the logical AND of answers, each of which may be None (unknown)."""
    return False if False in answers else None if None in answers else True


def holds(statement: IamStatement, context: RequestContext) -> bool | None:
    """Whether all conditions of a statement hold, or None if that is unknown."""
    answer: bool | None = True
    for operator, key, policy_values in statement.lines:
        answer = both(answer, _line(statement, operator, key, policy_values, context))
        if answer is False:
            return False
    return answer


def covers_action(statement: IamStatement, action: str) -> bool:
    """Return whether a statement's Action or NotAction covers an action, such as `iam:CreateUser`.

    Names of actions are case-insensitive.
    """
    lower_action = action.lower()
    if statement.but_actions:
        return not any(like(pattern.lower(), lower_action) for pattern in statement.but_actions)
    return any(like(pattern.lower(), lower_action) for pattern in statement.actions)


def covers_resource(statement: IamStatement, resource: str, context: RequestContext) -> bool | None:
    """Return whether a statement's Resource or NotResource covers a resource.

    Return None if that depends on a policy variable with an unknown value.
    """
    if statement.resources == ("*",):
        return True
    filled, others = _fill(statement, statement.but_resources or statement.resources, context)
    matched = any(like(pattern, resource) for pattern in filled)
    return None if others and not matched else matched != bool(statement.but_resources)


def filled_resource(statement: IamStatement, resource: str, context: RequestContext) -> str:
    """Return a resource of a statement with its policy variables replaced.

    Return the resource unchanged if the policy's language version does not support variables, or if a variable has no
    value or an unknown value.
    """
    return (filled_text(resource, context) or resource) if statement.fills else resource


def filled_text(text: str, context: RequestContext) -> str | None:
    """Return a text with its policy variables replaced, or None if a variable has no value, or an unknown value."""
    filled = _filled(text, context)
    return filled if isinstance(filled, str) else None


@lru_cache(maxsize=65536)
def statements_about(document: str, action: str) -> tuple[IamStatement, ...]:
    """Return the statements of a policy document that cover an action."""
    return tuple(statement for statement in statements(document) if covers_action(statement, action))


def evaluate(
    documents: Iterable[str],
    action: str,
    resource: str,
    context: RequestContext,
    *,
    boundary: str | None = None,
    levels: Levels = (),
) -> Decision:
    """Return the decision of policy documents on an action and a resource.

    An explicit deny wins over an allow, and an allow over the implicit deny. An allow counts only if the permissions
    boundary (`boundary`, the text of a policy) and each level of service control policies allow the action too. Return
    UNKNOWN if the result depends on a condition that cannot be evaluated. If `resource` is `*`, a pattern such as
    `arn:*` does not cover it.
    """
    verdict = _judged(documents, action, resource, context)
    if verdict is Decision.EXPLICIT or (boundary is None and not levels):
        return verdict
    return min(verdict, limit(action, resource, context, boundary=boundary, levels=levels), key=STRICTEST.index)


# The decision of several sets of policies, each of which must allow a request, is the first of these that one set has.
STRICTEST = (Decision.EXPLICIT, Decision.IMPLICIT, Decision.UNKNOWN, Decision.ALLOW)


def limit(
    action: str, resource: str, context: RequestContext, *, boundary: str | None = None, levels: Levels = ()
) -> Decision:
    """Return what a permissions boundary and levels of service control policies decide, without any other policy."""
    return _limit(action, resource, tuple(context.items()), boundary, levels)


@lru_cache(maxsize=1024)
def _limit(
    action: str, resource: str, context: tuple[tuple[str, str | None], ...], boundary: str | None, levels: Levels
) -> Decision:
    """Return the result of `limit`. The same request is often judged before and after a change of other policies."""
    sets = (*(() if boundary is None else ((boundary,),)), *levels)
    request = dict(context)
    verdicts = (_judged(documents, action, resource, request) for documents in sets)
    return min(verdicts, key=STRICTEST.index, default=Decision.ALLOW)


def _judged(documents: Iterable[str], action: str, resource: str, context: RequestContext) -> Decision:
    decision = Decision.IMPLICIT
    denied = None
    for document in documents:
        for statement in statements_about(document, action):
            covered = covers_resource(statement, resource, context)
            if covered is False:
                continue
            applies = both(covered, _holds_for(statement, action, resource, context))
            if applies is False:
                continue
            if not statement.allow:
                if applies:
                    return Decision.EXPLICIT
                denied = Decision.UNKNOWN
            elif applies:
                decision = Decision.ALLOW
            elif decision is not Decision.ALLOW:
                decision = Decision.UNKNOWN
    return denied or decision


@lru_cache(maxsize=4096)
def patterns_named(document: str, *, allow: bool, complete: bool = False) -> tuple[tuple[str, str], ...]:
    """Return the pairs of action and resource in a policy's Allow statements (with `allow`) or Deny statements.

    The pairs are returned as written, so they may contain patterns, such as `s3:Get*`. A policy that covers the pattern
    also covers each action that the pattern matches, so a pattern can be evaluated like an action. Actions for a user's
    own sign-in, and resources with a policy variable, are left out.

    With `complete`, NotAction counts as the action `*` and NotResource as the resource `*`. A resource with a policy
    variable is then left out only if its action has a prefix in OWN_SERVICES.
    """
    others = ("*",) if complete else ()
    pairs = (
        (action, resource)
        for statement in statements(document)
        if statement.allow is allow
        for action in statement.actions or others
        for resource in statement.resources or others
        if not SIGN_IN.fullmatch(action.lower())
        and ("${" not in resource or (complete and not action.lower().startswith(OWN_SERVICES)))
    )
    return tuple(dict.fromkeys(pairs))


@lru_cache(maxsize=4096)
def actions_named(document: str, *, allow: bool, complete: bool = False) -> tuple[tuple[str, str], ...]:
    """Return the pairs of `patterns_named`. With `allow`, keep only one action of each service for each resource."""
    unique_pairs: dict[tuple[str, str], tuple[str, str]] = {}
    for action, resource in patterns_named(document, allow=allow, complete=complete):
        unique_pairs.setdefault((action.partition(":")[0].lower() if allow else action, resource), (action, resource))
    return tuple(unique_pairs.values())


@lru_cache(maxsize=4096)
def _work(boundary: str | None, levels: Levels) -> tuple[tuple[str, str], ...]:
    """Return samples of actions that are not for sign-in, as pairs of an action and a resource.

    With a permissions boundary or service control policies, the actions in their Allow statements are samples too, and
    only the samples that all of them allow (or may allow) with MFA are returned. If there are none, return the samples
    in WORK.
    """
    everything = tuple((action, "*") for action in WORK)
    pairs = list(actions_named(boundary, allow=True)) if boundary is not None else []
    named = [pair for texts in levels for text in texts for pair in actions_named(text, allow=True)]
    pairs += [pair for pair in named if pair != ("*", "*")]
    within = [
        pair
        for pair in dict.fromkeys((*everything, *pairs))
        if limit(*pair, WITH_MFA, boundary=boundary, levels=levels) in {Decision.ALLOW, Decision.UNKNOWN}
    ]
    return tuple(within) or everything


def denies_all_work(
    documents: Sequence[str], context: RequestContext, *, boundary: str | None = None, levels: Levels = ()
) -> bool | None:
    """Return whether policies explicitly deny all work to requests with this context, or None if that is unknown.

    Work means all actions except those for a user's own sign-in; only samples of it are evaluated. Work that the
    permissions boundary or a level of service control policies does not allow counts as denied, whatever the policies
    allow.
    """
    answer: bool | None = True
    for action, resource in _work(boundary, levels):
        verdict = _judged(documents, action, resource, context)
        denied = None if verdict is Decision.UNKNOWN else verdict is Decision.EXPLICIT
        if (boundary is not None or levels) and denied is not True:
            within = limit(action, resource, context, boundary=boundary, levels=levels)
            denied = denied if within is Decision.ALLOW else None if within is Decision.UNKNOWN else True
        if denied is False:
            return False
        answer = both(answer, denied)
    return answer


def demands_mfa(
    documents: Sequence[str], about: RequestContext, *, boundary: str | None = None, levels: Levels = ()
) -> bool | None:
    """Return whether policies deny all work without MFA and allow some work with MFA, or None if unknown.

    `about` has the condition keys about the caller. Work is explained at `denies_all_work`. The policies must deny it
    both to requests with long-term access keys and to console sessions without MFA.
    """
    answer: bool | None = True
    for context in (PLAIN_KEYS, NO_MFA):
        answer = both(answer, denies_all_work(documents, {**about, **context}, boundary=boundary, levels=levels))
    with_mfa = denies_all_work(documents, {**about, **WITH_MFA}, boundary=boundary, levels=levels)
    return both(answer, None if with_mfa is None else not with_mfa)


def principals_let_in(document: str, context: RequestContext) -> list[tuple[str, str]]:
    """Return the principals (kind and name) that a role's trust policy allows to assume the role.

    `context` has the condition keys of the request. In an Allow statement, a condition that cannot be evaluated counts
    as met, and in a Deny statement as not met, so that no principal is missed.
    """
    relevant = [statement for statement in statements(document) if covers_action(statement, "sts:AssumeRole")]
    denied = {
        who
        for statement in relevant
        if not statement.allow and holds(statement, context)
        for who in statement.principals
    }
    allowed = [
        who
        for statement in relevant
        if statement.allow and holds(statement, context) is not False
        for who in statement.principals
    ]
    return [who for who in dict.fromkeys(allowed) if who not in denied and ("AWS", "*") not in denied]


def saml_providers(role: Entity) -> Iterator[str]:
    """Yield the ARNs of the SAML providers whose users may assume a role."""
    for statement in statements(trust_text(role)):
        if statement.allow and covers_action(statement, "sts:AssumeRoleWithSAML"):
            yield from (name for kind, name in statement.principals if kind == "Federated")


def allows_everything(document: str) -> bool:
    """Return whether a policy alone allows every request with MFA."""
    return not policy_flaw(document) and evaluate((document,), "*", "*", WITH_MFA) is Decision.ALLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityPolicies:
    """The policies of a user, group or role.

    `documents` has the texts of the entity's own policies and of its groups' policies. `boundary` is the text of its
    permissions boundary, or None. `unread` is true if `documents` lacks a policy, because its text or a group could not
    be read, or because its text is not an IAM policy. `why` says why the first such policy is lacking, or else what
    is wrong with the boundary. It is "" if nothing is wrong. `levels` has the service control policies of the account.
    """

    documents: tuple[str, ...]
    boundary: str | None
    unread: bool
    why: str = ""
    levels: Levels = ()

    def decide(self, action: str, resource: str, context: RequestContext, *, more: tuple[str, ...] = ()) -> Decision:
        """Return what these policies and the policy texts in `more` together decide about an action on a resource."""
        documents = (*self.documents, *more)
        return evaluate(documents, action, resource, context, boundary=self.boundary, levels=self.levels)

    def may_allow(self, action: str, resource: str, context: RequestContext) -> bool:
        """Return whether these policies allow an action on a resource, or might allow it."""
        may = {Decision.ALLOW, Decision.UNKNOWN}
        return _judged(self.documents, action, resource, context) in may and (
            limit(action, resource, context, boundary=self.boundary, levels=self.levels) in may
        )

    def denies_all_work(self, context: RequestContext, *, more: tuple[str, ...] = ()) -> bool | None:
        """Return what `denies_all_work` returns for these policies and the policy texts in `more`."""
        return denies_all_work((*self.documents, *more), context, boundary=self.boundary, levels=self.levels)


def about(entity: Entity, time: float) -> RequestContext:
    """Return the condition keys, with their values, that describe a user or role in its own requests at a time.

    The time is in Unix seconds. aws:ViaAWSService is false, because the caller sends the request itself. A user's
    requests have the tags of the user and no others. A session of a role may have more tags than the role.
    """
    tags = {f"aws:PrincipalTag/{name}": value for name, value in entity.tags.items()}
    always = {"aws:PrincipalArn": entity.arn, "aws:ViaAWSService": "false", "aws:CurrentTime": iso_time(time)}
    if ":role/" in entity.arn:
        return {"aws:username": None, "aws:PrincipalType": "AssumedRole", **always, **tags}
    return {"aws:username": entity.name, "aws:PrincipalType": "User", "aws:PrincipalTag/": None, **always, **tags}


def entity_policies(
    entity: Entity, managed: Mapping[str, str], groups: Mapping[str, EntityPolicies] | None = None
) -> EntityPolicies:
    """Return the policies of a user, group or role, including those of a user's groups.

    `managed` has the texts of managed policies by ARN, and `groups` the policies of the known groups by name. If one of
    the user's groups is not in `groups`, `unread` of the result is true.
    """
    own = list(own_policies(entity, managed))
    joined = [groups[name] for name in entity.groups if groups and name in groups]
    gaps = [*(policy.flaw for policy in own if policy.flaw), *(group.why for group in joined if group.unread)]
    if len(joined) < len(entity.groups):
        gaps.append("a group of this user could not be read")
    boundary, flaw = _boundary(entity, managed)
    return EntityPolicies(
        documents=(
            *(policy.text for policy in own if policy.text is not None and not policy.flaw),
            *(text for group in joined for text in group.documents),
        ),
        boundary=boundary,
        unread=bool(gaps),
        why=[*gaps, flaw][0],
    )


def control_levels(snapshot: Snapshot) -> tuple[Levels, str]:
    """Return the levels of service control policies in a snapshot, and why a policy cannot be evaluated, or "".

    Policies that could not be read are replaced by UNREAD_CONTROL. If the levels were not asked for, the result is ().
    """
    if hole := snapshot.hole(SnapshotPart.CONTROL):
        return ((UNREAD_CONTROL,),), f"the {hole.part} could not be read: {hole.why}"
    control = snapshot.control or ()
    unread = next(
        (f"the service control policy {policy.id}" for policy in _policies(control) if not _is_read(policy)), ""
    )
    levels = tuple(tuple(map(control_text, level.policies)) for level in control)
    return usable_levels(levels), f"{unread} could not be read" if unread else ""


def _policies(control: Iterable[ControlLevel]) -> Iterator[ControlPolicy]:
    for level in control:
        yield from level.policies


def _is_read(policy: ControlPolicy) -> bool:
    return policy.text is not None and not policy_flaw(policy.text)


def control_text(policy: ControlPolicy) -> str:
    """Return the text of a service control policy, or UNREAD_CONTROL if it could not be read or is no policy."""
    return policy.text if policy.text is not None and _is_read(policy) else UNREAD_CONTROL


def usable_levels(levels: Levels) -> Levels:
    """Return fewer levels that decide the same.

    A level that allows every request can be joined with the others of this kind, and is left out if it denies nothing.
    """
    others = tuple(texts for texts in levels if not any(map(allows_all, texts)))
    joined = tuple(dict.fromkeys(text for texts in levels if texts not in others for text in texts))
    return (*(() if _allows_all(joined) or not joined else (joined,)), *others)


def _allows_all(texts: Sequence[str]) -> bool:
    """Return whether the service control policies of one level allow every request, whatever its context."""
    return any(map(allows_all, texts)) and all(row.allow for text in texts for row in statements(text))


def allows_all(document: str) -> bool:
    """Return whether a statement of a policy allows every request, whatever its context."""
    whole = ("*",)
    return any(row.allow and row.actions == row.resources == whole and not row.lines for row in statements(document))


def limited(policies: EntityPolicies, levels: Levels, gap: str) -> EntityPolicies:
    """Return the policies with the results of `control_levels` added."""
    return replace(policies, levels=levels, why=policies.why or gap) if levels else policies


def group_policies(groups: Iterable[Entity], managed: Mapping[str, str]) -> dict[str, EntityPolicies]:
    """Return the policies of groups by name. `managed` has the texts of managed policies by ARN."""
    return {group.name: entity_policies(group, managed) for group in groups}


def _boundary(entity: Entity, managed: Mapping[str, str]) -> tuple[str | None, str]:
    """Return a pair: the text of an entity's permissions boundary, and the reason why it cannot be evaluated.

    The text is None if there is no boundary, and UNREAD if the boundary cannot be evaluated. The reason is "" if there
    is nothing wrong.
    """
    if entity.boundary is None:
        return None, ""
    policy = managed_policy(entity.boundary, managed)
    return (UNREAD, policy.flaw) if policy.flaw else (policy.text, "")


def administers(entity: Entity, policies: EntityPolicies, context: RequestContext) -> bool | None:
    """Return whether these policies let a user or role attach AdministratorAccess to itself, or write its own policy.

    Return None if that is unknown. With either right, the user or role can give itself every other right, so it is an
    administrator. `context` has the condition keys of the request. It should be one with MFA, because an administrator
    whose policies demand MFA is still an administrator.
    """
    kind = "Role" if ":role/" in entity.arn else "User"
    whole = f"arn:{entity.arn.split(':')[1]}:iam::aws:policy/AdministratorAccess"
    known = {**context, "iam:PermissionsBoundary": entity.boundary, "iam:PolicyARN": whole}
    answers = {policies.decide(f"iam:{verb}{kind}Policy", entity.arn, known) for verb in ("Attach", "Put")}
    if Decision.ALLOW not in answers:
        return None if policies.unread or Decision.UNKNOWN in answers else False
    # A new policy gives no more than the boundary allows.
    limit = Decision.ALLOW if policies.boundary is None else evaluate((policies.boundary,), "*", "*", context)
    return None if limit is Decision.UNKNOWN else limit is Decision.ALLOW


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A policy: `text` is its document in JSON, or None if the document could not be read.

    `flaw` is a sentence that says why the policy cannot be evaluated. It is None if the policy can be evaluated.
    """

    text: str | None
    flaw: str | None


def own_policies(holder: Entity, managed: Mapping[str, str]) -> Iterator[PolicyText]:
    """Yield the inline policies of a user, group or role, then its attached policies, without those of a user's groups.

    `managed` has the texts of managed policies by ARN.
    """
    for name, text in holder.inline.items():
        flaw = policy_flaw(text)
        yield PolicyText(text, flaw and _not_a_policy(f"policy {name} of {_named(holder)}", flaw))
    for arn in holder.attached:
        yield managed_policy(arn, managed)


def managed_policy(arn: str, managed: Mapping[str, str]) -> PolicyText:
    """Return the managed policy with this ARN, such as a permissions boundary. `managed` has the texts by ARN."""
    text = managed.get(arn)
    if text is None:
        return PolicyText(None, f"the text of policy {arn} could not be read")
    flaw = policy_flaw(text)
    return PolicyText(text, flaw and _not_a_policy(f"policy {arn}", flaw))


def trust_flaw(role: Entity) -> str | None:
    """Return a sentence that says why the trust policy of a role cannot be evaluated.

    Return None if it can be evaluated, or if the entity has no trust policy.
    """
    flaw = policy_flaw(role.trust or NOBODY)
    return flaw and _not_a_policy(f"the trust policy of {_named(role)}", flaw)


def trust_text(role: Entity) -> str:
    """Return the text of a role's trust policy.

    If there is none, or if it cannot be evaluated, return the text of a policy that lets no principal assume the role.
    """
    return NOBODY if role.trust is None or trust_flaw(role) else role.trust


def lets_people_in(role: Entity) -> bool:
    """Return whether a role's trust policy names others than AWS services. One that cannot be evaluated counts too."""
    allowed = (statement for statement in statements(trust_text(role)) if statement.allow)
    people = (kind for statement in allowed for kind, _ in statement.principals if kind != "Service")
    return trust_flaw(role) is not None or any(people)


def flaws_of(entity: Entity, managed: Mapping[str, str]) -> Iterator[str]:
    """Check all policies of a user, group or role. Yield a sentence for each text that is not an IAM policy.

    The permissions boundary and the trust policy are included. Policies whose text could not be read are left out.
    `managed` has the texts of managed policies by ARN.
    """
    boundary = [managed_policy(entity.boundary, managed)] if entity.boundary else []
    for policy in (*own_policies(entity, managed), *boundary):
        if policy.flaw and policy.text is not None:
            yield policy.flaw
    if flaw := trust_flaw(entity):
        yield flaw


def _not_a_policy(policy: str, flaw: str) -> str:
    return f"{policy} is not an IAM policy: {flaw}"


def _named(entity: Entity) -> str:
    """Return the kind and the name of an entity, such as `user alice`."""
    return f"{entity.arn.rpartition(':')[2].partition('/')[0]} {entity.name}"
