"""Limits and pauses as numbers. A test that imports one of them cannot see it change, so each of these is here too."""

import re
from importlib import import_module
from itertools import chain

import pytest

from tests.conftest import ROOT

MINUTE, DAY, MIB = 60, 86_400, 1 << 20
LIMITS: dict[str, object] = {
    "mfa_kit.account.last_use.DAY": DAY,
    "mfa_kit.adapters.aws.answers.READ_PAUSES": (0.5, 1, 2, 4, 8),
    "mfa_kit.adapters.aws.s3_calls.OUTAGE_PAUSES": (0.5, 1, 2, 4, 8, 15, 30, 60, 60),
    "mfa_kit.adapters.files.event_files.LARGEST_EVENT": MIB,
    "mfa_kit.adapters.ledger.postgresql.database.FRESH": 1,
    "mfa_kit.adapters.oath.card.LONGEST_NAME": 64,
    "mfa_kit.adapters.web.guard.LONGEST": 4096,
    "mfa_kit.adapters.web.server.MOST": 32,
    "mfa_kit.audit.finding.DAY": DAY,
    "mfa_kit.backups.own_identity.WORDS": 7,
    "mfa_kit.break_glass.custodians.MOST_SETS": 252,
    "mfa_kit.break_glass.uses.DAY": DAY,
    "mfa_kit.break_glass.uses.DRILL_EVERY": 180 * DAY,
    "mfa_kit.cli.browser.page_state.LOG": 40,
    "mfa_kit.cli.browser.page_state.SHOWN": 10 * MINUTE,
    "mfa_kit.cli.letters.WIDTH": 76,
    "mfa_kit.cli.main.GARBAGE_AT": 200_000,
    "mfa_kit.cli.rollout.running.ATTEMPTS": 3,
    "mfa_kit.core.otp.PERIOD": 30,
    "mfa_kit.disk.files.LARGEST": MIB,
    "mfa_kit.enrollment.fido_console.PACE": 2,
    "mfa_kit.enrollment.fido_console.SLOWEST": 30,
    "mfa_kit.enrollment.pacing.BUSY": (5, 10, 20, 40, 60),
    "mfa_kit.enrollment.pacing.FIRST_RATE": 10.0,
    "mfa_kit.enrollment.pacing.GIVE_UP": 10 * MINUTE,
    "mfa_kit.enrollment.pacing.IDLE": MINUTE,
    "mfa_kit.enrollment.pacing.THROTTLED": (1, 2, 4, 8, 15, 30),
    "mfa_kit.enrollment.settling.STILL_ON_ITS_WAY": 15 * MINUTE,
    "mfa_kit.qr_codes.symbol.TEXT": 16,
    "mfa_kit.security_keys.preparing.TRIES": 5,
    "mfa_kit.tokens.acceptance.BINS": 40,
    "mfa_kit.tokens.seeds.TOLD": 10,
    "mfa_kit.usage.updating.HISTORY_DAYS": 90,
    "mfa_kit.wiring.files.LARGEST_ADVISORIES": MIB,
}
# Matches an import from the product, whose names are in brackets if there are several lines.
IMPORT = re.compile(r"^from (mfa_kit\.[\w.]+) import (?:\(([^)]*)\)|(.+))$", re.MULTILINE)
CONSTANT = re.compile(r"\b[A-Z][A-Z0-9_]+\b")


def value(name: str) -> object:
    module, _, constant = name.rpartition(".")
    return getattr(import_module(module), constant, None)  # None for the name that a test gives it


def is_limit(name: str) -> bool:
    """Return whether a name stands for a number, or for several."""
    numbers = value(name) if isinstance(value(name), tuple) else (value(name),)
    return isinstance(numbers, tuple) and {type(number) for number in numbers} <= {int, float} and numbers != ()


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_the_number_that_the_pages_and_messages_have(name: str) -> None:
    assert value(name) == LIMITS[name]


def test_each_limit_that_a_test_imports_is_in_the_table() -> None:
    """The benches only measure. Numbers of the lab are those of protocols, which other programs judge."""
    files = (file for file in ROOT.glob("tests/**/*.py") if "bench" not in file.parts)
    imports = chain.from_iterable(IMPORT.findall(file.read_text("utf-8")) for file in files)
    names = {
        f"{module}.{constant}"
        for module, several, line in imports
        if not module.startswith("mfa_kit.lab")
        for constant in CONSTANT.findall(several or line)
    }
    assert {name for name in names if is_limit(name)} <= LIMITS.keys()
