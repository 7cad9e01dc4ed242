"""The index of the plans of several accounts: it is read back as it was written, and anything else is refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from mfa_kit.core.errors import UsageFault
from mfa_kit.rollout.plan import PlannedAccount, RolloutIndex, UnplannedAccount
from mfa_kit.rollout.plan_files import index_text, is_index, parse_index

COUNTS = {"enroll": 2, "bench": 0, "self": 1, "staged": 0, "skip": 0, "blocked": 0}
ACCOUNT = PlannedAccount(
    id="000000000001", name="dev", plan="i.json-plans/000000000001-abababab.json", sha256="ab" * 32, counts=COUNTS
)
INDEX = RolloutIndex(
    by="arn:aws:iam::000000000000:user/admin",
    planned_at=1_800_000_000.0,
    accounts=[ACCOUNT],
    unplanned=[UnplannedAccount(id="000000000002", name="", why="denied")],
)


def test_an_index_is_read_back_as_it_was_written() -> None:
    """It may also have no accounts."""
    for index in (INDEX, RolloutIndex(by="", planned_at=0.0, accounts=[], unplanned=[])):
        assert is_index(index_text(index))
        assert parse_index(index_text(index)) == index


def test_the_counts_of_an_index_are_those_of_all_accounts() -> None:
    """They come before the accounts, for the person who reviews the index."""
    two = RolloutIndex(by="", planned_at=0.0, accounts=[ACCOUNT, ACCOUNT])
    assert json.loads(index_text(two))["counts"] == {action: 2 * number for action, number in COUNTS.items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.update(version=2),
        lambda index: index.update(schema="mfa-kit/rollout-plan"),
        lambda index: index.update(accounts={}),
        lambda index: index.update(made="yesterday"),
        lambda index: index.pop("unplanned"),
        lambda index: index["accounts"].append(index["accounts"][0]),
        lambda index: index["accounts"][0].update(id="1"),
        lambda index: index["accounts"][0].update(sha256="AB" * 32),
        lambda index: index["accounts"][0].update(plan="/etc/passwd"),
        lambda index: index["accounts"][0].update(plan="../000000000001-abababab.json"),
        lambda index: index["accounts"][0].update(plan="./000000000001-abababab.json"),
        lambda index: index["accounts"][0].update(plan="000000000001-abababab.json"),
        lambda index: index["accounts"][0].update(plan="/000000000001-abababab.json"),
        lambda index: index["accounts"][0].update(plan="a/b/000000000001-abababab.json"),
        lambda index: index["accounts"][0].update(plan="a\0b/000000000001-abababab.json"),
        lambda index: index["accounts"][0].update(plan="\ud800/000000000001-abababab.json"),
        lambda index: index["accounts"][0].update(plan="a/000000000002-abababab.json"),
        lambda index: index["accounts"][0].update(plan="a/000000000001-cdcdcdcd.json"),
        lambda index: index["accounts"][0].update(plan="a/000000000001-abababab.json\0"),
        lambda index: index["accounts"][0].update(counts={"enroll": "many"}),
    ],
)
def test_text_that_is_not_an_index_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    """The message begins with the name of the file."""
    document = json.loads(index_text(INDEX))
    change(document)
    with pytest.raises(UsageFault, match=r"^index.json is not an index of plans"):
        parse_index(json.dumps(document), name="index.json")
