"""What goes wrong between a client and IAM, as rules: latency, throttling, lost answers, listings that lag.

A rule is an operation (or `*`), when it fires, and a fault with its parameters. Nothing here knows what an
operation does.
"""

import json
import threading
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from moto.core.utils import get_service_model

from mfa_kit.core.errors import UsageFault

# fault: parameters that must be given
FAULTS: Mapping[str, tuple[str, ...]] = {
    "latency": ("seconds",),
    "throttle": (),
    "bucket": ("rate", "burst"),
    "lost-before": (),
    "lost-after": (),
    "late": ("seconds",),
    "lag": ("seconds",),
    "error-before": (),
    "error-after": (),
    "denied": (),
    "expired": (),
    "busy": (),
    "clock": ("seconds",),
}
# Parameters that may be given besides.
MORE: Mapping[str, tuple[str, ...]] = {"late": ("listings",)}
# Of these alone a parameter may be below zero: a clock can be behind.
SIGNED = ("clock",)
# What a parameter may be at most: three decades of seconds.
MOST = 1e9
# These are a condition of the whole account while their rule stands, not an event of one call.
STANDING = ("lag", "clock", "bucket")
LISTINGS = ("ListMFADevices", "ListVirtualMFADevices")


def read_rules(file: Path) -> list[object]:
    """Read a file of rules: JSON, a list; or TOML, tables named `rule`. Raise UsageFault for anything else."""
    try:
        text = file.read_text("utf-8")
        found = tomllib.loads(text).get("rule") if file.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}", "give a file of rules") from None
    except (ValueError, RecursionError) as error:
        raise UsageFault(f"{file} is no file of rules: {error}", "see docs/lab.md for the form") from None
    if not isinstance(found, list):
        raise UsageFault(f"{file} holds no list of rules", "see docs/lab.md for the form")
    return found


@cache
def operations() -> frozenset[str]:
    """Every operation that IAM and STS have."""
    return frozenset(name for service in ("iam", "sts") for name in get_service_model(service).operation_names)


@dataclass(slots=True)
class FaultRule:
    """One fault and when it fires: `next`, `every`, or the nth call counted from now."""

    operation: str
    fault: str
    at: str | int
    parameters: dict[str, float]
    seen: int = 0
    spent: bool = False
    tokens: float = 0
    filled: float = field(default_factory=time.monotonic)

    def fires(self, operation: str) -> bool:
        if self.spent or self.operation not in ("*", operation):
            return False
        self.seen += 1
        if self.at == "every":
            return True
        self.spent = self.seen == (1 if self.at == "next" else self.at)
        return self.spent

    def empty(self) -> bool:
        """Take one token from the bucket; whether there was none."""
        now = time.monotonic()
        self.tokens = min(self.parameters["burst"], self.tokens + (now - self.filled) * self.parameters["rate"])
        self.filled = now
        if self.tokens < 1:
            return True
        self.tokens -= 1
        return False


class Faults:
    """The rules of a lab."""

    def __init__(self) -> None:
        self._rules: list[FaultRule] = []
        self._lock = threading.Lock()
        self._listed = threading.Condition()
        self._listings = 0

    def add(self, operation: str, fault: str, *, at: str | int = "next", **parameters: float) -> None:
        """Add a rule. Raise UsageFault for an unknown fault, a moment that is none, or parameters that do not fit."""
        if fault not in FAULTS:
            raise UsageFault(f"there is no fault {fault!r}", f"the lab plays {', '.join(FAULTS)}")
        if operation != "*" and operation not in operations():
            raise UsageFault(f"IAM and STS have no operation {operation!r}", "write it as the API does, or * for all")
        if at not in ("next", "every") and (type(at) is not int or at < 1):
            raise UsageFault(f"{at!r} is no moment for a fault", "give next, every, or the number of the call from 1")
        takes = (*FAULTS[fault], *MORE.get(fault, ()))
        hint = f"{fault} takes {', '.join(takes)}" if takes else f"{fault} takes no parameters"
        for name in FAULTS[fault]:
            if name not in parameters:
                raise UsageFault(f"the fault {fault} lacks {name}", hint)
        for name, value in parameters.items():
            if name not in takes:
                raise UsageFault(f"the fault {fault} has no {name}", hint)
            least = -MOST if fault in SIGNED else 0
            if not least <= value <= MOST:
                raise UsageFault(
                    f"{name} of the fault {fault} cannot be {value}", f"give a number from {least:.0f} to {MOST:.0f}"
                )
        with self._lock:
            self._rules.append(
                FaultRule(
                    operation,
                    fault,
                    "every" if fault in STANDING else at,
                    parameters,
                    tokens=parameters.get("burst", 0),
                )
            )

    def add_row(self, row: object) -> None:
        """Add a rule as a file or the control endpoint has it: operation, fault, at, and the fault's parameters."""
        if not isinstance(row, dict) or "fault" not in row:
            raise UsageFault(f"{row!r} is no rule", "a rule has operation, fault, at, and the fault's parameters")
        numbers = {name: value for name, value in row.items() if name not in ("operation", "fault", "at")}
        wrong = [
            name for name, value in numbers.items() if not isinstance(value, int | float) or isinstance(value, bool)
        ]
        if wrong:
            raise UsageFault(f"{wrong[0]} is no number", "parameters of faults are seconds, rates and counts")
        self.add(str(row.get("operation", "*")), str(row["fault"]), at=row.get("at", "next"), **numbers)

    def clear(self) -> None:
        """Take all rules away."""
        with self._lock:
            self._rules.clear()

    def rules(self) -> list[FaultRule]:
        with self._lock:
            return list(self._rules)

    def standing(self, fault: str) -> float:
        """Return the seconds of a standing fault, 0 without one."""
        return next((rule.parameters["seconds"] for rule in reversed(self.rules()) if rule.fault == fault), 0.0)

    def due(self, operation: str) -> list[FaultRule]:
        """Pick the rules that fire for this call, latency last: it is the outermost."""
        with self._lock:
            fired = [rule for rule in self._rules if rule.fault not in ("lag", "clock") and rule.fires(operation)]
            return sorted(
                (rule for rule in fired if rule.fault != "bucket" or rule.empty()),
                key=lambda rule: rule.fault == "latency",
            )

    def listed(self, operation: str) -> None:
        """Tell those who wait that a listing was answered."""
        if operation in LISTINGS:
            with self._listed:
                self._listings += 1
                self._listed.notify_all()

    def wait(self, seconds: float, listings: float) -> None:
        """Sleep, and until this many listings were answered, counted from now."""
        with self._listed:
            goal = self._listings + listings
            until = time.monotonic() + seconds
            self._listed.wait_for(lambda: self._listings >= goal)
        time.sleep(max(0.0, until - time.monotonic()))
