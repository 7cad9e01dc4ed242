"""Evaluates policies as IAM does: an explicit deny wins over an allow, and the default is an implicit deny.

Sources: the "Policy evaluation logic" and "IAM JSON policy elements" pages of the user guide. The evaluation of a
condition ends with an error if the lab does not know its operator, so that a policy that the lab cannot evaluate does
not look evaluated.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from ipaddress import ip_address, ip_network

from mfa_kit.lab.aws.wire import IamError

Context = Mapping[str, str | Sequence[str]]
Test = Callable[[str, str], bool]
# Policy variables for literal characters (user guide, "IAM policy elements: Variables and tags").
LITERAL = {"${*}": "*", "${?}": "?", "${$}": "$"}


class EvalDecision(Enum):
    """The decision of a set of policies about one request (API EvaluationResult: EvalDecision)."""

    ALLOW = "allow"
    IMPLICIT = "implicit deny"
    EXPLICIT = "explicit deny"


def _glob(pattern: str, value: str) -> bool:
    """Return whether a pattern with `*` and `?` matches a value.

    As in IAM, brackets are literal, and `${*}` is a literal `*`. The text between two stars is matched only where it
    first occurs. Trying all its occurrences would find no other matches, but could take years for a pattern with many
    stars.
    """
    runs = [""]
    for part in re.split(r"(\$\{[*?$]\}|[*?])", pattern):
        if part == "*":
            runs.append("")
        else:
            runs[-1] += "." if part == "?" else re.escape(LITERAL.get(part, part))
    if len(runs) == 1:
        return re.fullmatch(runs[0], value, re.DOTALL) is not None
    regex = f"{runs[0]}{''.join(f'(?>.*?{run})' for run in runs[1:-1])}.*{runs[-1]}"
    return re.fullmatch(regex, value, re.DOTALL) is not None


def _plain(operand: str) -> str:
    return re.sub(r"\$\{([*?$])\}", r"\1", operand)


def _arn(pattern: str, value: str) -> bool:
    """Return whether each of the six parts of an ARN matches its part of the pattern, as ArnLike does."""
    patterns, parts = pattern.split(":", 5), value.split(":", 5)
    return len(patterns) == len(parts) and all(map(_glob, patterns, parts))


def _when(text: str) -> datetime:
    if text.isdigit():
        return datetime.fromtimestamp(int(text), UTC)
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


TESTS: Mapping[str, Test] = {
    "StringEquals": lambda operand, value: _plain(operand) == value,
    "StringEqualsIgnoreCase": lambda operand, value: _plain(operand).lower() == value.lower(),
    "StringLike": _glob,
    "ArnEquals": _arn,
    "ArnLike": _arn,
    "Bool": lambda operand, value: operand.lower() == value.lower(),
    "NumericEquals": lambda operand, value: float(value) == float(operand),
    "NumericLessThan": lambda operand, value: float(value) < float(operand),
    "NumericLessThanEquals": lambda operand, value: float(value) <= float(operand),
    "NumericGreaterThan": lambda operand, value: float(value) > float(operand),
    "NumericGreaterThanEquals": lambda operand, value: float(value) >= float(operand),
    "DateEquals": lambda operand, value: _when(value) == _when(operand),
    "DateLessThan": lambda operand, value: _when(value) < _when(operand),
    "DateLessThanEquals": lambda operand, value: _when(value) <= _when(operand),
    "DateGreaterThan": lambda operand, value: _when(value) > _when(operand),
    "DateGreaterThanEquals": lambda operand, value: _when(value) >= _when(operand),
    "IpAddress": lambda operand, value: ip_address(value) in ip_network(operand, strict=False),
}
NEGATED: Mapping[str, str] = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
    "NotIpAddress": "IpAddress",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of a Condition element: an operator with its quantifier, a condition key and the wanted values."""

    operator: str
    key: str
    wanted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Element:
    """The Action or Resource element of a statement, or its NotAction or NotResource element if `negated` is true.

    For a statement without such an element, `patterns` is empty and `negated` is false, so nothing is covered.
    """

    patterns: tuple[str, ...] = ()
    negated: bool = False

    def covers(self, match: Callable[[str], bool]) -> bool:
        """Return whether the element covers a value. `match` decides whether a pattern matches the value."""
        return any(map(match, self.patterns)) != self.negated


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyStatement:
    """One statement of a policy document. `principals` are a trust policy's AWS principals; `*` means everyone."""

    effect: str
    actions: Element
    resources: Element
    principals: tuple[str, ...]
    conditions: tuple[Condition, ...]

    @property
    def denies(self) -> bool:
        """Whether the statement is an explicit deny."""
        return self.effect == "Deny"


def _texts(value: object) -> tuple[str, ...]:
    """Return the values of a policy element, which may be a single value or a list."""
    return tuple(str(entry) for entry in value) if isinstance(value, list) else (str(value),)


def _element(row: Mapping[str, object], name: str) -> Element:
    if name in row:
        return Element(_texts(row[name]))
    return Element(_texts(row[f"Not{name}"]), negated=True) if f"Not{name}" in row else Element()


def _conditions(value: object) -> Iterable[Condition]:
    """Yield the lines of a Condition element, which maps operators to condition keys and their wanted values."""
    for operator, lines in value.items() if isinstance(value, dict) else ():
        for key, operands in lines.items():
            yield Condition(operator, key, _texts(operands))


def _principals(value: object) -> tuple[str, ...]:
    if isinstance(value, dict):
        return _texts(value.get("AWS", []))
    return ("*",) if value == "*" else ()


def _statement(row: Mapping[str, object]) -> PolicyStatement:
    return PolicyStatement(
        effect=str(row["Effect"]),
        actions=_element(row, "Action"),
        resources=_element(row, "Resource"),
        principals=_principals(row.get("Principal")),
        conditions=tuple(_conditions(row.get("Condition"))),
    )


@lru_cache(maxsize=256)
def parse_statements(document: str) -> tuple[PolicyStatement, ...]:
    """Parse the statements of a JSON policy document. Only version 2012-10-17 has policy variables."""
    policy = json.loads(document)
    if policy.get("Version") != "2012-10-17" and "${" in document:
        policy = json.loads(document.replace("${", "${$}{"))
    rows = policy["Statement"]
    return tuple(_statement(row) for row in (rows if isinstance(rows, list) else [rows]))


def _fill_variables(text: str, context: Context) -> str | None:
    """Return a text with its policy variables replaced.

    Return None if a variable has neither a single value nor a default; the text then matches nothing.
    """
    missing: list[str] = []

    def fill(match: re.Match[str]) -> str:
        name, _, default = match[1].partition(",")
        if match[0] in LITERAL:
            return match[0]
        value = _look_up(context, name.strip())
        if isinstance(value, str):
            return re.sub(r"[*?]", r"${\g<0>}", value)
        if not default:
            missing.append(name)
        return default.strip().strip("'")

    filled = re.sub(r"\$\{([^}]*)\}", fill, text)
    return None if missing else filled


def _look_up(context: Context, key: str) -> str | Sequence[str] | None:
    """Return the value of a condition key, or None if it is not in the context. Key names are not case-sensitive."""
    return next((value for name, value in context.items() if name.lower() == key.lower()), None)


def _condition_holds(condition: Condition, context: Context) -> bool:
    """Return whether one line of a Condition element is met.

    Raise IamError with the code NotImplemented for an operator or quantifier that the lab does not know.
    """
    quantifier, _, operator = condition.operator.rpartition(":")
    if_exists = operator.endswith("IfExists")
    name = operator.removesuffix("IfExists")
    value = _look_up(context, condition.key)
    if name == "Null":
        return any((value is None) == (operand.lower() == "true") for operand in condition.wanted)
    if NEGATED.get(name, name) not in TESTS or quantifier not in ("", "ForAllValues", "ForAnyValue"):
        raise IamError("NotImplemented", f"The lab does not support the condition operator {condition.operator}.")
    if value is not None:
        return _matches(condition, quantifier, name, value=value, context=context)
    if quantifier and not if_exists:
        return quantifier == "ForAllValues"
    return if_exists or name in NEGATED


def _matches(condition: Condition, quantifier: str, name: str, *, value: str | Sequence[str], context: Context) -> bool:
    """Return whether a condition is met. `value` is the value or the values of its key in the request."""
    test = TESTS[NEGATED.get(name, name)]
    filled = [text for operand in condition.wanted if (text := _fill_variables(operand, context)) is not None]
    negated = name in NEGATED
    values = [value] if isinstance(value, str) else value
    try:
        outcomes = [any(test(text, request_value) for text in filled) != negated for request_value in values]
    except ValueError:  # the operator compares numbers, times or addresses, and a value has another form
        return False
    return all(outcomes) if quantifier == "ForAllValues" else any(outcomes)


def conditions_hold(statement: PolicyStatement, context: Context) -> bool:
    """Return whether all conditions of a statement are met."""
    return all(_condition_holds(condition, context) for condition in statement.conditions)


def _applies(statement: PolicyStatement, action: str, resource: str, context: Context) -> bool:
    def covers_resource(pattern: str) -> bool:
        filled = _fill_variables(pattern, context)
        return filled is not None and _glob(filled, resource)

    return (
        statement.actions.covers(lambda pattern: _glob(pattern.lower(), action.lower()))
        and statement.resources.covers(covers_resource)
        and conditions_hold(statement, context)
    )


def condition_keys(documents: Iterable[str]) -> set[str]:
    """Return the condition keys that policies (JSON documents) name in conditions and in policy variables."""
    keys: set[str] = set()
    for document in documents:
        keys |= {re.split(r"[,}]", variable)[0].strip() for variable in re.findall(r"\$\{([^*?$][^}]*\})", document)}
        keys |= {condition.key for statement in parse_statements(document) for condition in statement.conditions}
    return keys


def decide(documents: Iterable[str], action: str, resource: str, context: Context) -> EvalDecision:
    """Return the decision of policies about an action (`service:Name`) on a resource.

    For an operation that has no resource, `resource` is `*`, which the pattern of an ARN does not match.
    """
    decision = EvalDecision.IMPLICIT
    for document in documents:
        for statement in parse_statements(document):
            if _applies(statement, action, resource, context):
                if statement.denies:
                    return EvalDecision.EXPLICIT
                decision = EvalDecision.ALLOW
    return decision
