"""Files with impossible values: each command that reads them ends with one sentence, never with an internal error."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.lab.aws.description import read_description
from mfa_kit.lab.aws.server import Lab
from tests.conftest import MfaKit
from tests.rollout.conftest import lose_ledger
from tests.sizes import size

OLD = Path(__file__).parents[1] / "data" / "c7f9663"
INTERNAL = 70
VALUES: list[object] = [
    *("", "arn", ":::::", "arn:aws:iam::1:mfa/", "1970-01-01", "2050-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59"),
    *("0001-01-01T00:00:00+23:59", "\ud800", "\u202e\n\x1b[31m", "A" * 70_000, "[[[[", '{"Statement": 1e999}'),
    *(-1, 0, 10**20, 10**400, 1e17, -1e17, 253402300800, -62135596801, float("inf"), float("nan")),
    *(True, None, [], {}, [None], {"a": None}),
]
Place = tuple[str | int, ...]


def _places(value: object, at: Place = ()) -> Iterator[Place]:
    """Yield the path to each value in JSON. Of a list, only three items are used."""
    for key, each in (
        value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    ):
        yield (*at, key)
        yield from _places(each, (*at, key))


def _with(whole: object, at: Place, value: object) -> Any:
    changed: Any = copy.deepcopy(whole)
    inner = changed
    for step in at[:-1]:
        inner = inner[step]
    inner[at[-1]] = value
    return changed


PARTS = range(size(1, 8))  # several processes share the cases


def _try(desk: MfaKit, file: Path, part: int, commands: list[list[str]], tried: Callable[[str, int], None]) -> None:
    lines = file.suffix == ".jsonl"
    text = file.read_text()
    whole = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    for command in commands:
        assert desk.run(*command).code in {0, 1, 6}, command
    every = [(at, value) for at in _places(whole) for value in VALUES]
    cases = every[:: max(1, len(every) // size(25, 3000))][part :: len(PARTS)]
    wrong = []
    for at, value in cases:
        changed = _with(whole, at, value)
        file.write_text("".join(f"{json.dumps(line)}\n" for line in changed) if lines else json.dumps(changed))
        for command in commands:
            done = desk.run(*command)
            if done.code == INTERNAL or "Traceback" in done.err:
                wrong.append((at, str(value)[:50], command, done.err))
    assert wrong == []
    tried(f"impossible values in {file.name.split('-')[0]}", len(cases))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", PARTS)
def test_no_snapshot_ends_in_an_internal_error(
    part: int,
    mfa_kit: MfaKit,
    recipient: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tried: Callable[[str, int], None],
) -> None:
    """A value of a real snapshot is replaced, for example by a malformed ARN, an impossible time, or a huge number."""
    file = tmp_path / "snapshot.json"
    with Lab(description=read_description(OLD / "account.json")) as lab:
        for name, text in lab.env.items():
            monkeypatch.setenv(name, text)
        lab.add_user("new")
        assert mfa_kit.run("enroll", "new", "--with", "virtual", "--codes", "generated", "-r", recipient).code == 0
        mfa_kit.run("audit", "--snapshot", file)
    verbs = ["audit", "audit --output html", "policy lockout", "policy onboard", "policy lint"]
    _try(mfa_kit, file, part, [[*verb.split(), "--snapshot", str(file)] for verb in verbs], tried)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", PARTS)
def test_no_plan_ends_in_an_internal_error(
    part: int,
    mfa_kit: MfaKit,
    users: Callable[[], str],
    recipient: str,
    tmp_path: Path,
    tried: Callable[[str, int], None],
) -> None:
    roster, file = tmp_path / "roster.csv", tmp_path / "plan.json"
    roster.write_text(f"user,recipient,kind,asset\n{users()},{recipient},,\n{users()},,fido2,K1\n")
    assert mfa_kit.run("rollout", "plan", roster, "-o", file).code == 0
    verbs = [
        f"rollout status {file}",
        f"rollout status {file} --output html",
        f"rollout apply {file} --dry-run -r {recipient}",
    ]
    _try(mfa_kit, file, part, [verb.split() for verb in verbs], tried)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", PARTS)
def test_no_record_of_a_run_ends_in_an_internal_error(
    part: int,
    mfa_kit: MfaKit,
    users: Callable[[], str],
    recipient: str,
    tmp_path: Path,
    tried: Callable[[str, int], None],
) -> None:
    """The ledger is lost, so that the record counts."""
    roster, file = tmp_path / "roster.csv", tmp_path / "plan.json"
    roster.write_text(f"user,recipient\n{users()},{recipient}\n{users()},{recipient}\n")
    assert mfa_kit.run("rollout", "plan", roster, "-o", file).code == 0
    assert mfa_kit.run("rollout", "apply", file, "--stage", "-r", recipient).code == 0
    lose_ledger(mfa_kit.home)
    (record,) = tmp_path.glob("plan-results/record-*.jsonl")
    verbs = [
        f"rollout status {file}",
        f"rollout apply {file} --dry-run --stage -r {recipient}",
        f"rollout undo {file} --dry-run",
        f"rollout handover {file} -o {tmp_path / 'letters'} --dry-run",
    ]
    _try(mfa_kit, record, part, [verb.split() for verb in verbs], tried)


@pytest.mark.parametrize(
    "words",
    [
        "backup prune --days",
        "enroll USER --with virtual --codes generated --passphrase --passphrase-fd",
        "status --drilled-within",
        "orphans list --older-than",
        "ledger show --since",
        "policy onboard --max-age",
    ],
)
def test_no_number_ends_in_an_internal_error(words: str, mfa_kit: MfaKit, user: str) -> None:
    # As a descriptor, the last one is a number that is not open here.
    unopened = "\N{ARABIC-INDIC DIGIT THREE}" * 5
    for number in ("9" * 400, "9" * 5000, "1" + "0" * 12, "-1", "inf", "nan", "\ud800", unopened):
        for unit in ("", "d"):
            done = mfa_kit.run(*words.replace("USER", user).split(), number + unit)
            assert done.code != INTERNAL, (number[:20], unit, done.err)
