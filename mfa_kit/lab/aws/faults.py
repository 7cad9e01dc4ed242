"""Rules that simulate faults between a client and AWS: latency, throttling, lost responses and stale lists.

A rule consists of an operation (or `*`), the calls at which it fires, and a fault with its parameters. It applies to
all accounts or to one. Apart from LISTINGS, nothing here depends on a particular operation.

To add a fault, add a row to FAULTS. A fault that only returns an error is `Fault(play=_refuse("Code", "message"))`. For
anything else, write a function that takes the rule and the call and returns the response (`call.act()` lets the service
act). If the `condition` of a fault is the name of a field of `Conditions`, the fault changes the account until its rule
is removed. Finally, add the fault to the table in docs/lab.md.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

from moto.core.utils import get_service_model

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws.description import FORM, read_document
from mfa_kit.lab.aws.wire import LOST, HttpResponse

# The largest value of a parameter. In seconds, it is about 30 years.
MOST = 1e9
# The fields of a rule in a file that are not parameters of its fault.
RULE = ("operation", "fault", "at", "account")
ACCOUNT_ID = re.compile(r"\d{12}", re.ASCII)
LISTINGS = ("ListMFADevices", "ListVirtualMFADevices")
FAILED = "The request processing has failed because of an unknown error."


class FaultyCall(Protocol):
    """A call to which a fault is applied. Its methods are the actions that a fault can take."""

    def act(self) -> HttpResponse:
        """Let the service act, with the remaining rules applied, and return the response."""
        ...

    def act_later(self, seconds: float, *, listings: float) -> None:
        """Let the service act after `seconds` seconds and `listings` further calls that list MFA devices.

        The response of the service is discarded.
        """
        ...

    def refuse(self, code: str, message: str) -> HttpResponse:
        """Return an error response in the wire format of the service that was called."""
        ...

    def deny(self) -> None:
        """Make the service answer as if no policy allowed the call."""
        ...


class Conditions(NamedTuple):
    """Conditions of a whole account. Fault rules set these conditions, which last until the rules are removed.

    `clock` is the offset of AWS's clock. `lag` is the age of the state that list operations return. Both are in
    seconds.
    """

    clock: float = 0.0
    lag: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of fault.

    `play` answers a call to which the fault applies. It is None for a fault of a whole account; `condition` is then the
    field of Conditions that the fault sets. `needs` are the required parameters, `takes` the optional ones, and `least`
    is the smallest value of a parameter. A `standing` fault applies to every matching call until its rule is removed,
    even if the rule has another `at`. `spares` gets a rule and the account ID of a call, and returns True if the rule
    does not apply to this call. An `outermost` fault is applied before all others.
    """

    play: "Callable[[FaultRule, FaultyCall], HttpResponse] | None" = None
    condition: str = ""
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    least: float = 0.0
    standing: bool = False
    spares: "Callable[[FaultRule, str], bool]" = lambda _, __: False
    outermost: bool = False


@dataclass(slots=True)
class FaultRule:
    """A fault and the calls at which it occurs.

    `at` is `next` (call), `every` (call), or a number n for the nth call after the rule was added. `account` is the ID
    of the account to whose calls the rule applies, or "" for all accounts. `buckets` holds the rate-limit tokens and
    the time of the last call for each account ID, because IAM throttles each account separately.
    """

    operation: str
    fault: str
    at: str | int
    parameters: dict[str, float]
    account: str = ""
    seen: int = 0
    spent: bool = False
    buckets: dict[str, tuple[float, float]] = field(default_factory=dict)
    added: float = field(default_factory=time.monotonic)

    def concerns(self, account: str) -> bool:
        """Return whether the rule is for the account with this ID, or for all accounts."""
        return self.account in ("", account)

    def fires(self, operation: str, account: str) -> bool:
        """Return whether the rule applies to a call. Count the call if its operation and account match the rule."""
        if self.spent or self.operation not in ("*", operation) or not self.concerns(account):
            return False
        self.seen += 1
        if self.at == "every":
            return True
        self.spent = self.seen == (1 if self.at == "next" else self.at)
        return self.spent

    def take_token(self, account: str) -> bool:
        """Take a rate-limit token from an account's bucket, and return True.

        Return False if the bucket is empty. The bucket gains `rate` tokens a second, and has at most `burst` tokens.
        """
        now, burst = time.monotonic(), self.parameters["burst"]
        tokens, filled = self.buckets.get(account, (burst, self.added))
        tokens = min(burst, tokens + (now - filled) * self.parameters["rate"])
        self.buckets[account] = (tokens - (tokens >= 1), now)
        return tokens >= 1

    def row(self) -> dict[str, str | float]:
        """Return the rule as `GET /lab/faults` lists it."""
        who = {"account": self.account} if self.account else {}
        return {"operation": self.operation, "fault": self.fault, "at": self.at, **who, **self.parameters}


def _refuse(code: str, message: str, *, after: bool = False) -> Callable[[FaultRule, FaultyCall], HttpResponse]:
    """Return a `play` function that returns an error.

    With `after`, the service acts first; otherwise it is not called.
    """

    def play(_rule: FaultRule, call: FaultyCall) -> HttpResponse:
        if after:
            call.act()
        return call.refuse(code, message)

    return play


def _delay(rule: FaultRule, call: FaultyCall) -> HttpResponse:
    time.sleep(rule.parameters["seconds"])
    return call.act()


def _lose_before(_rule: FaultRule, _call: FaultyCall) -> HttpResponse:
    return LOST


def _lose_after(_rule: FaultRule, call: FaultyCall) -> HttpResponse:
    call.act()
    return LOST


def _act_late(rule: FaultRule, call: FaultyCall) -> HttpResponse:
    call.act_later(rule.parameters["seconds"], listings=rule.parameters.get("listings", 0))
    return LOST


def _deny(_rule: FaultRule, call: FaultyCall) -> HttpResponse:
    call.deny()
    return call.act()


FAULTS: Mapping[str, Fault] = {
    "latency": Fault(play=_delay, needs=("seconds",), outermost=True),
    "throttle": Fault(play=_refuse("Throttling", "Rate exceeded")),
    "bucket": Fault(
        play=_refuse("Throttling", "Rate exceeded"),
        needs=("rate", "burst"),
        standing=True,
        spares=FaultRule.take_token,
    ),
    "lost-before": Fault(play=_lose_before),
    "lost-after": Fault(play=_lose_after),
    "late": Fault(play=_act_late, needs=("seconds",), takes=("listings",)),
    "lag": Fault(condition="lag", needs=("seconds",), standing=True),
    "error-before": Fault(play=_refuse("ServiceFailure", FAILED)),
    "error-after": Fault(play=_refuse("ServiceFailure", FAILED, after=True)),
    "denied": Fault(play=_deny),
    "expired": Fault(play=_refuse("ExpiredToken", "The security token included in the request is expired")),
    "busy": Fault(
        play=_refuse(
            "ConcurrentModification",
            "The request was rejected because multiple requests to change this object were submitted simultaneously.",
        )
    ),
    "clock": Fault(condition="clock", needs=("seconds",), least=-MOST, standing=True),
}


def read_rules(file: Path) -> list[object]:
    """Read a file of rules: a JSON list, or TOML tables named `rule`. Raise UsageFault for any other file."""
    rules = read_document(file, instead="give a file of rules", fault="is not a file of rules")
    if file.suffix == ".toml" and isinstance(rules, dict):
        if "rules" in rules and "rule" not in rules:
            raise UsageFault(
                f"{file} has the tables [[rules]], whose name is [[rule]]", "write [[rule]] above each rule"
            )
        rules = rules.get("rule")
    if not isinstance(rules, list):
        raise UsageFault(f"{file} contains no list of rules", FORM)
    return rules


@cache
def operations() -> frozenset[str]:
    """Return the names of all operations of the lab's services, from botocore's service models.

    Of EC2, whose model is large, the lab has only DescribeRegions.
    """
    services = ("iam", "sts", "organizations", "s3", "cloudtrail")
    names = (name for service in services for name in get_service_model(service).operation_names)
    return frozenset(("DescribeRegions", *names))


def _check_parameters(name: str, fault: Fault, parameters: Mapping[str, float]) -> None:
    """Raise UsageFault for a parameter that is missing, unknown or out of range."""
    takes = (*fault.needs, *fault.takes)
    hint = f"the parameters of {name} are: {', '.join(takes)}" if takes else f"the fault {name} has no parameters"
    for needed in fault.needs:
        if needed not in parameters:
            raise UsageFault(f"the fault {name} needs the parameter {needed}", hint)
    for parameter, value in parameters.items():
        if parameter not in takes:
            raise UsageFault(f"the fault {name} has no parameter {parameter}", hint)
        if not fault.least <= value <= MOST:
            raise UsageFault(
                f"the parameter {parameter} of the fault {name} cannot be {value}",
                f"give a number from {fault.least:.0f} to {MOST:.0f}",
            )


class Faults:
    """The fault rules of a lab."""

    def __init__(self) -> None:
        self._rules: list[FaultRule] = []
        self._lock = threading.Lock()
        self._listed = threading.Condition()
        self._listings = 0

    def add(
        self, operation: str, fault: str, *, at: str | int = "next", account: str = "", **parameters: float
    ) -> None:
        """Add a rule, for one account or for all accounts.

        Raise UsageFault for an unknown fault or operation, and for an invalid `at`, account or parameter.
        """
        if fault not in FAULTS:
            raise UsageFault(f"unknown fault {fault!r}", f"use one of {', '.join(FAULTS)}")
        if operation != "*" and operation not in operations():
            raise UsageFault(
                f"the services of the lab have no operation {operation!r}",
                "use a name from the API, or * for all operations",
            )
        if at not in ("next", "every") and (type(at) is not int or at < 1):
            raise UsageFault(
                f"{at!r} is not a valid 'at' of a fault", "use next, every, or the number of the call, counted from 1"
            )
        if account and not ACCOUNT_ID.fullmatch(account):
            raise UsageFault(f"{account!r} is not an account ID", "give the 12 digits of an account of the lab")
        _check_parameters(fault, FAULTS[fault], parameters)
        when = "every" if FAULTS[fault].standing else at
        with self._lock:
            self._rules.append(FaultRule(operation, fault, when, parameters, account))

    def add_row(self, row: object) -> None:
        """Add a rule from a file or a request: a dictionary with operation, fault, at, account and parameters.

        Raise UsageFault if the rule is invalid.
        """
        if not isinstance(row, dict) or "fault" not in row:
            raise UsageFault(f"{row!r} is not a rule", "give operation, fault, at, account and parameters")
        numbers = {name: value for name, value in row.items() if name not in RULE}
        wrong = [
            name for name, value in numbers.items() if not isinstance(value, int | float) or isinstance(value, bool)
        ]
        if wrong:
            raise UsageFault(f"the value of {wrong[0]} is not a number", "give a number, without quotation marks")
        account, at = str(row.get("account", "")), row.get("at", "next")
        self.add(str(row.get("operation", "*")), str(row["fault"]), at=at, account=account, **numbers)

    def clear(self) -> None:
        """Remove all rules."""
        with self._lock:
            self._rules.clear()

    def rules(self) -> list[FaultRule]:
        """Return the rules in the order in which they were added, including those that no longer apply."""
        with self._lock:
            return list(self._rules)

    def conditions(self, account: str) -> Conditions:
        """Return the conditions that the rules set for an account, with 0 for each condition that no rule sets.

        If two rules set the same condition, the newer rule counts.
        """
        seconds_by_condition = {
            FAULTS[rule.fault].condition: rule.parameters["seconds"]
            for rule in self.rules()
            if FAULTS[rule.fault].condition and rule.concerns(account)
        }
        return Conditions(**seconds_by_condition)

    def due(self, operation: str, account: str) -> list[FaultRule]:
        """Count a call of an account, and return the rules that apply to it.

        Rules with an `outermost` fault are at the end of the list, because the last rule is applied first.
        """
        with self._lock:
            fired = [rule for rule in self._rules if FAULTS[rule.fault].play and rule.fires(operation, account)]
            effective = [rule for rule in fired if not FAULTS[rule.fault].spares(rule, account)]
        return sorted(effective, key=lambda rule: FAULTS[rule.fault].outermost)

    def note_listing(self, operation: str) -> None:
        """If the operation lists MFA devices, count the call, and wake the delayed calls that wait for such calls."""
        if operation in LISTINGS:
            with self._listed:
                self._listings += 1
                self._listed.notify_all()

    def wait(self, seconds: float, listings: float) -> None:
        """Wait until `seconds` seconds and `listings` further calls that list MFA devices have passed."""
        with self._listed:
            goal = self._listings + listings
            until = time.monotonic() + seconds
            self._listed.wait_for(lambda: self._listings >= goal)
        time.sleep(max(0.0, until - time.monotonic()))


def play(rule: FaultRule, call: FaultyCall) -> HttpResponse:
    """Return the response to a call to which a rule applies."""
    fault = FAULTS[rule.fault].play
    return fault(rule, call) if fault else call.act()
