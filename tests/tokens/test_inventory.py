"""The inventory: the data that it stores, the effect of a second import, and the tokens that a user may get."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from mfa_kit.adapters.ledger.ledger import Ledger
from mfa_kit.adapters.ledger.sqlite_database import MIGRATIONS, sqlite_ledger
from mfa_kit.adapters.ledger.token_inventory import TokenInventory
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.models import DeviceSpec, DeviceType, JournalEntry, JournalState, Method
from mfa_kit.tokens.seeds import Factor, Sighting, StockCounts, Token, TokenVerdict
from tests.ledgers import Place

NOW = 1_800_000_000.0


@pytest.fixture
def ledger(place: Place) -> Iterator[Ledger]:
    with place.open() as ledger:
        yield ledger


@pytest.fixture
def inventory(ledger: Ledger) -> TokenInventory:
    return TokenInventory(ledger, now=NOW)


T1 = Token(
    serial="T1",
    factor=Factor.HOTP,
    digest="sha256",
    digits=8,
    period=60,
    counter=7,
    maker="Acme",
    model="D1",
    octets=32,
)
T2 = Token(serial="T2", octets=20)


def seen(
    serial: str, verdict: TokenVerdict, *, at: float = NOW, reason: str = "", seconds: int | None = 30
) -> Sighting:
    return Sighting(serial=serial, at=at, verdict=verdict, offset=1, seconds=seconds, reason=reason)


def test_a_token_is_read_as_it_was_imported(inventory: TokenInventory) -> None:
    assert inventory.stock([(T1, "f1"), (T2, "f2")]) == StockCounts(new=2, known=0, reseeded=0)
    assert [(each.token, each.fingerprint, each.verdict) for each in inventory.tokens()] == [
        (T1, "f1", TokenVerdict.UNTESTED),
        (T2, "f2", TokenVerdict.UNTESTED),
    ]


def test_a_repeated_import_keeps_the_results(inventory: TokenInventory) -> None:
    inventory.stock([(T1, "f1")])
    inventory.record(seen("T1", TokenVerdict.ACCEPTED))
    assert inventory.stock([(T1, "f1"), (T2, "f2")]) == StockCounts(new=1, known=1, reseeded=0)
    assert [each.verdict for each in inventory.tokens()] == [TokenVerdict.ACCEPTED, TokenVerdict.UNTESTED]


def test_another_seed_makes_a_token_untested_again(inventory: TokenInventory) -> None:
    """The token's earlier readings belong to the old seed."""
    inventory.stock([(T1, "f1")])
    inventory.record(seen("T1", TokenVerdict.REJECTED, reason="no"))
    assert inventory.stock([(T1, "f9")]) == StockCounts(new=0, known=0, reseeded=1)
    stocked = inventory.token("T1")
    assert stocked
    assert (stocked.verdict, stocked.reason) == (TokenVerdict.UNTESTED, "")
    assert inventory.sightings("T1") == []
    assert inventory.last_sightings() == {}


def test_a_known_capacity_is_kept(inventory: TokenInventory) -> None:
    inventory.stock([(Token(serial="T2", octets=20, capacity=63), "f2")])
    inventory.stock([(T2, "f2")])
    stocked = inventory.token("T2")
    assert stocked
    assert stocked.token.capacity == 63


def test_the_last_reading_counts(inventory: TokenInventory) -> None:
    inventory.stock([(T1, "f1"), (T2, "f2")])
    first, last = (
        seen("T1", TokenVerdict.REJECTED, reason="mistyped"),
        seen("T1", TokenVerdict.ACCEPTED, at=NOW + 60, seconds=None),
    )
    inventory.record(first, last)
    assert inventory.sightings("T1") == [first, last]
    assert inventory.last_sightings() == {"T1": last}
    stocked = inventory.token("T1")
    assert stocked
    assert (stocked.verdict, stocked.reason) == (TokenVerdict.ACCEPTED, "")


def test_a_token_outside_the_inventory_has_no_reading(inventory: TokenInventory) -> None:
    inventory.record(seen("T1", TokenVerdict.ACCEPTED))
    assert inventory.last_sightings() == {}
    assert inventory.token("T1") is None


def test_a_failed_token_cannot_be_given_to_a_user(inventory: TokenInventory) -> None:
    inventory.stock([(T1, "f1")])
    inventory.record(seen("T1", TokenVerdict.REJECTED, reason="its clock is dead"))
    with pytest.raises(UsageFault, match="token T1 was rejected: its clock is dead"):
        inventory.check_free("T1", "alice")


@pytest.mark.parametrize("verdict", [TokenVerdict.ACCEPTED, TokenVerdict.UNTESTED])
def test_a_token_that_did_not_fail_can_be_given_to_a_user(inventory: TokenInventory, verdict: TokenVerdict) -> None:
    inventory.stock([(T1, "f1")])
    inventory.record(seen("T1", verdict))
    inventory.check_free("T1", "alice")
    inventory.check_free("never seen here", "alice")


def spec(user: str, **what: object) -> DeviceSpec:
    return DeviceSpec(account="000000000000", partition="aws", user=user, name=user, **what)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "what",
    [
        {"method": Method("programmable"), "hardware": "T1"},
        {"method": Method("hardware-totp", DeviceType.HARDWARE_TOTP), "known_serial": "T1"},
    ],
)
@pytest.mark.parametrize("reached", [JournalState.ENABLED, JournalState.CONFIRMED, JournalState.REVOKING])
def test_an_assigned_token_cannot_be_given_to_another_user(
    ledger: Ledger, inventory: TokenInventory, what: dict[str, object], reached: JournalState
) -> None:
    """The ledger names the user as long as the user has the token, also before IAM lists it."""
    inventory.stock([(T1, "f1")])
    entry = ledger.record(JournalEntry(run="20260101T000000Z-00000001", spec=spec("bob", **what), reached=reached))
    with pytest.raises(UsageFault, match="token T1 belongs to bob"):
        inventory.check_free("T1", "alice")
    inventory.check_free("T1", "bob")
    assert [each.user for each in inventory.tokens()] == ["bob"]
    ledger.record(entry.at(JournalState.REVOKED))
    inventory.check_free("T1", "alice")
    assert [each.user for each in inventory.tokens()] == [None]


def test_ten_thousand_tokens_are_imported_at_once(inventory: TokenInventory) -> None:
    rows = [(Token(serial=f"{at}", octets=20), f"f{at}") for at in range(10_000)]
    assert inventory.stock(rows).new == 10_000
    assert len(inventory.tokens()) == 10_000


def test_a_failed_import_stores_nothing(inventory: TokenInventory) -> None:
    """Either all rows are imported, or no row is."""
    with pytest.raises(IntegrityFault):
        inventory.stock([(T1, "f1"), (T2, None)])  # type: ignore[list-item]
    assert inventory.tokens() == []
    inventory.stock([(T1, "f1")])


def test_a_ledger_of_the_first_version_gets_the_tables(tmp_path: Path) -> None:
    """The tables for tokens are added to an existing ledger, and its data is kept."""
    with sqlite3.connect(tmp_path / "ledger.sqlite") as old:
        old.executescript(f"{MIGRATIONS[0]} pragma user_version = 1;")
        old.execute("insert into events (at, operation, answer) values (1, 'x', 'OK')")
    old.close()
    with sqlite_ledger(tmp_path) as ledger:
        TokenInventory(ledger, now=NOW).stock([(T1, "f1")])
        assert len(ledger.history()) == 1


def test_the_newest_reading_counts_in_any_order_of_recording(inventory: TokenInventory) -> None:
    inventory.stock([(T1, "f1")])
    inventory.record(seen("T1", TokenVerdict.ACCEPTED))
    inventory.record(seen("T1", TokenVerdict.REJECTED, at=NOW - 60, reason="no"))
    stocked = inventory.token("T1")
    assert stocked
    assert (stocked.verdict, stocked.reason, inventory.last_sightings()["T1"].verdict) == (
        TokenVerdict.ACCEPTED,
        "",
        TokenVerdict.ACCEPTED,
    )


def test_results_of_a_seed_count_again_after_its_return(inventory: TokenInventory) -> None:
    inventory.stock([(T1, "f1")])
    inventory.record(seen("T1", TokenVerdict.REJECTED, reason="no"))
    inventory.stock([(T1, "f9")])
    inventory.stock([(T1, "f1")])
    stocked = inventory.token("T1")
    assert stocked
    assert (stocked.verdict, stocked.reason) == (TokenVerdict.REJECTED, "no")


@pytest.mark.parametrize("name_in_iam", ["ab 12", "AB12", " a b 1 2"])
def test_spellings_of_a_serial_are_one_token(ledger: Ledger, inventory: TokenInventory, name_in_iam: str) -> None:
    """A token that failed or belongs to a user is not given to another user under any spelling."""
    inventory.stock([(Token(serial="Ab 12", octets=20), "f1"), (T2, "f2")])
    inventory.record(seen("Ab 12", TokenVerdict.REJECTED, reason="no"))
    with pytest.raises(UsageFault, match="was rejected: no"):
        inventory.check_free(name_in_iam, "alice")
    ledger.record(
        JournalEntry(
            run="20260101T000000Z-00000001",
            spec=spec("bob", method=Method("programmable"), hardware="t 2"),
            reached=JournalState.CONFIRMED,
        )
    )
    with pytest.raises(UsageFault, match="belongs to bob"):
        inventory.check_free("T2", "alice")


def test_another_spelling_in_a_later_file_is_the_same_token(inventory: TokenInventory) -> None:
    """The spelling of the latest file is used, and the readings are kept."""
    inventory.stock([(Token(serial="Ab 12", octets=20), "f1")])
    inventory.record(seen("Ab 12", TokenVerdict.ACCEPTED))
    assert inventory.stock([(Token(serial="AB12", octets=20), "f1")]) == StockCounts(new=0, known=1, reseeded=0)
    assert [(each.token.serial, each.verdict) for each in inventory.tokens()] == [("AB12", TokenVerdict.ACCEPTED)]
    assert [each.serial for each in inventory.sightings("AB12")] == ["AB12"]


def test_two_spellings_in_a_ledger_are_not_damage(inventory: TokenInventory) -> None:
    """An older ledger may have both spellings. The spelling of the file counts."""
    inventory.stock([(Token(serial="GAHT12345678"), ""), (Token(serial="gaht12345678"), "")])
    assert inventory.stock([(Token(serial="GAHT12345678"), "")]).known == 1
    assert inventory.stock([(Token(serial="gaht12345678"), "")]).known == 1


def test_an_assigned_token_need_not_be_imported(ledger: Ledger, inventory: TokenInventory) -> None:
    ledger.record(
        JournalEntry(
            run="20260101T000000Z-00000001",
            spec=spec("bob", method=Method("programmable"), hardware="8650012"),
            reached=JournalState.CONFIRMED,
        )
    )
    with pytest.raises(UsageFault, match="belongs to bob"):
        inventory.check_free("8650012", "alice")


def test_a_yubikey_with_the_serial_of_a_token_is_not_the_token(ledger: Ledger, inventory: TokenInventory) -> None:
    """YubiKeys have serials of eight digits too."""
    ledger.record(
        JournalEntry(
            run="20260101T000000Z-00000001",
            spec=spec("bob", method=Method("oath"), hardware="10001001"),
            reached=JournalState.CONFIRMED,
        )
    )
    inventory.check_free("10001001", "alice")


def test_a_token_stays_assigned_when_its_older_device_is_removed(ledger: Ledger, inventory: TokenInventory) -> None:
    """If a device is replaced on the same token, the new device is created before the old device is removed."""
    inventory.stock([(T1, "f1")])
    both = [spec("bob", method=Method("programmable"), hardware="T1", path=f"/{at}/") for at in (1, 2)]
    old = ledger.record(JournalEntry(run="20260101T000000Z-00000001", spec=both[0], reached=JournalState.CONFIRMED))
    ledger.record(JournalEntry(run="20260101T000000Z-00000002", spec=both[1], reached=JournalState.CONFIRMED))
    ledger.record(old.at(JournalState.REVOKED))
    assert [each.user for each in inventory.tokens()] == ["bob"]


@pytest.mark.parametrize("counter", [0, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_counter_of_eight_octets_is_stored(inventory: TokenInventory, counter: int) -> None:
    """SQLite's integers are signed, and counters are not."""
    token = Token(serial="T3", factor=Factor.HOTP, counter=counter, octets=20)
    inventory.stock([(token, "a")])
    (stocked,) = inventory.tokens()
    assert stocked.token == token


def accept_any_value(ledger: Ledger, table: str) -> None:
    """Drop the rule by which PostgreSQL refuses values that mfa-kit does not write."""
    if ledger.shared:
        ledger.write((f"alter table {table} drop constraint well_formed", [()]))


@pytest.mark.parametrize("column", ["factor", "verdict"])
def test_an_unknown_value_is_damage(ledger: Ledger, inventory: TokenInventory, column: str) -> None:
    """Somebody may have edited the ledger."""
    inventory.stock([(T2, "a")])
    accept_any_value(ledger, "tokens")
    ledger.write((f"update tokens set {column} = $1", [("32et",)]))
    with pytest.raises(IntegrityFault, match="is damaged: a column has a value that mfa-kit does not write"):
        inventory.tokens()


def test_a_reading_with_another_verdict_is_damage(ledger: Ledger, inventory: TokenInventory) -> None:
    inventory.stock([(T2, "a")])
    inventory.record(seen("T2", TokenVerdict.ACCEPTED))
    accept_any_value(ledger, "sightings")
    ledger.write(("update sightings set verdict = $1", [("maybe",)]))
    with pytest.raises(IntegrityFault, match="is damaged: a column has a value that mfa-kit does not write"):
        inventory.sightings("T2")
