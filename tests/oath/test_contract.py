"""The contract with OATH keys on the lab's card, in a reader of a real pcscd: with and without planted deviations."""

import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from mfa_kit.adapters.oath.applet import Applet, Keys
from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.otp import Secret
from mfa_kit.lab.devices import oathcard
from mfa_kit.lab.devices.apdu import StatusWord
from mfa_kit.lab.devices.oathcard import CALCULATE_ALL, RENAME, TOTP_TYPE, Credential, Quirks, YkoathCard
from tests import pcsc
from tests.conftest import MfaKit
from tests.fido.test_hardware_report import on
from tests.hardware.__main__ import main
from tests.hardware.oath import PREFIX, ROWS, OathBench
from tests.hardware.rows import Person, RowResult, Verdict, as_json, table, try_rows
from tests.oath.conftest import only

BLANK = {row.name for row in ROWS if "blank" in row.needs}
TOUCHED = {row.name for row in ROWS if "touch" in row.needs}
CODES = {"codes", "codes-sha256", "pair", "name-64", "put-again", "touch", "rename"}
THEIRS = Credential(TOTP_TYPE | 1, 6, b"a secret of the owner", touch=False)


def hand(card: YkoathCard) -> Callable[[bool], None]:
    """Return a function that touches a card, or leaves it alone."""

    def touch(wanted: bool) -> None:
        card.quirks.untouched = 0 if wanted else StatusWord.CONDITIONS_NOT_SATISFIED

    return touch


def bench_of(card: YkoathCard, keys: Keys, *, blank: bool = True, told: list[str] | None = None) -> OathBench:
    pcsc.plug(card)
    return OathBench(only(keys), Person((list[str]() if told is None else told).append, hand(card)), blank=blank)


def card_with(quirks: Quirks | None = None, **more: int) -> YkoathCard:
    return YkoathCard(capacity=5, touch_limit=0.05, quirks=quirks, **more)  # type: ignore[arg-type]


def with_verdict(rows: list[RowResult], verdict: Verdict) -> set[str]:
    return {row.row for row in rows if row.verdict is verdict}


@pytest.mark.parametrize("quirks", [Quirks(), Quirks(strict_le=True), Quirks(most_at_once=1)], ids=["", "le", "many"])
def test_the_lab_card_does_what_mfa_kit_relies_on(keys: Keys, quirks: Quirks) -> None:
    """All rows are run. The deviations of firmware that the adapter corrects are not seen."""
    card, told = card_with(quirks), list[str]()
    rows = list(try_rows(ROWS, bench_of(card, keys, told=told)))
    assert with_verdict(rows, Verdict.SAME) == {*(row.name for row in ROWS), "nothing-left"}, table(rows)
    assert (card.credentials, card.password, card.touches) == ({}, None, 1)
    # mfa-kit asks for a touch in both rows. In the second, the person was told to leave the key alone.
    assert told == ["touch the key now (30 s)"]


DEVIATIONS: dict[str, tuple[Quirks, set[str]]] = {
    "no touch": (Quirks(drops_touch=True), {"touch-listed", "no-touch"}),
    "always a touch": (Quirks(adds_touch=True), {"put", "name-64", "rename"}),
    "wrong codes": (Quirks(wrong_codes=True), CODES),
    "overwrites": (Quirks(overwrites=True), {"others-kept", "full"}),
    "keeps": (Quirks(keeps=True), {"delete", "nothing-left"}),
    "no password": (Quirks(ignores_password=True), {"password-locks", "password-wrong"}),
    "counts passwords": (Quirks(password_tries=7), {"password-wrong"}),
    "no rename": (Quirks(refuses={RENAME: 0x6D00}), {"rename"}),
    "touch unknown": (
        Quirks(refuses={CALCULATE_ALL: 0x6D00}, lists_plainly=True),
        {"put", "name-64", "touch-listed", "rename"},
    ),
}


@pytest.mark.parametrize("name", DEVIATIONS)
def test_a_planted_deviation_is_reported_as_its_rows(keys: Keys, name: str) -> None:
    """Exactly these rows differ, and all others are the same."""
    quirks, expected = DEVIATIONS[name]
    # A card that deletes nothing needs room for the credentials of all rows.
    card = YkoathCard(capacity=40, touch_limit=0.05, quirks=replace(quirks)) if quirks.keeps else card_with(quirks)
    rows = list(try_rows(ROWS, bench_of(card, keys)))
    assert with_verdict(rows, Verdict.DIFFERS) == expected, table(rows)
    assert with_verdict(rows, Verdict.NOT_RUN) == set()


@pytest.mark.parametrize(("limit", "row"), [(63, "name-64"), (65, "name-65")])
def test_another_limit_of_names_is_one_row(keys: Keys, limit: int, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """mfa-kit writes names of up to 64 octets."""
    monkeypatch.setattr(oathcard, "NAME_LIMIT", limit)
    rows = list(try_rows(ROWS, bench_of(card_with(), keys)))
    assert with_verdict(rows, Verdict.DIFFERS) == {row}


def test_the_credentials_of_the_owner_stay(keys: Keys) -> None:
    """The card is not filled and gets no password, also if the owner says that it is blank."""
    card = card_with()
    card.credentials[b"bank:me"] = THEIRS
    rows = list(try_rows(ROWS, bench_of(card, keys)))
    assert with_verdict(rows, Verdict.NOT_RUN) == BLANK
    assert with_verdict(rows, Verdict.DIFFERS) == set()
    assert card.credentials == {b"bank:me": THEIRS}


def test_a_card_with_a_password_is_left_alone(keys: Keys) -> None:
    """No password is tried, because some cards count wrong ones."""
    card = card_with(Quirks(password_tries=3))
    card.password = b"of the owner"
    rows = list(try_rows(ROWS, bench_of(card, keys)))
    assert {row.verdict for row in rows} == {Verdict.NOT_RUN}
    assert (card.quirks.password_tries, card.credentials) == (3, {})


def test_rows_that_nobody_can_touch_for_are_not_run(keys: Keys) -> None:
    """Without consent, the rows for a blank card are not run either. An old firmware is not asked to rename."""
    card = card_with(version=(5, 2, 7))  # type: ignore[arg-type]
    bench = replace(bench_of(card, keys, blank=False), person=Person(lambda _: None))
    rows = list(try_rows(ROWS, bench))
    assert with_verdict(rows, Verdict.NOT_RUN) == BLANK | TOUCHED | {"rename"}
    assert with_verdict(rows, Verdict.DIFFERS) == set()


def test_what_a_killed_run_left_is_removed(keys: Keys) -> None:
    """Names with another prefix are those of the owner."""
    card = card_with()
    card.credentials |= {f"{PREFIX}put".encode(): THEIRS, b"mfa-kit:other": THEIRS}
    rows = list(try_rows((), bench_of(card, keys)))
    assert [(row.row, row.verdict) for row in rows] == [("nothing-left", Verdict.SAME)]
    assert set(card.credentials) == {b"mfa-kit:other"}


def test_ctrl_c_removes_what_a_row_left(keys: Keys) -> None:
    """The row that is interrupted has stored a credential."""
    card = card_with()
    bench = bench_of(card, keys)

    def stop(_: OathBench) -> str:
        card.credentials[f"{PREFIX}stop".encode()] = THEIRS
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(try_rows((replace(ROWS[0], ask=stop),), bench))
    assert card.credentials == {}


def test_a_password_that_was_set_without_an_answer_is_removed(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key took it, and the link was lost."""
    card, real = card_with(), Applet.set_key

    def lose(applet: Applet, secret: Secret[bytes] | None) -> None:
        real(applet, secret)
        if secret:
            raise DeviceFault("no answer", "try again")

    bench = bench_of(card, keys)
    monkeypatch.setattr(Applet, "set_key", lose)
    with pytest.raises(DeviceFault), bench.locked():
        pass
    assert card.password is None


def test_the_report_has_each_row_and_no_secret(keys: Keys) -> None:
    """An unforeseen error is reported by its type, because its text could hold a secret."""

    def fail(_: OathBench) -> str:
        raise RuntimeError("secret-7731")

    rows = list(try_rows((replace(ROWS[0], ask=fail),), bench_of(card_with(), keys)))
    written = table(rows)
    assert "| identity | the same again | RuntimeError | differs |" in written
    assert written.endswith("2 rows: 1 same, 1 differs, 0 not run")
    assert '"did": "RuntimeError"' in as_json([], {}, rows)
    assert "7731" not in written + as_json([], {}, rows)


def test_the_program_tries_the_card_that_is_in_a_reader(
    mfa_kit: MfaKit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The credentials of the owner are still there, and the report has neither their names nor the serial."""
    monkeypatch.setattr(sys, "stdin", sys.stdin)
    card = card_with()
    card.credentials[b"bank:me"] = THEIRS
    pcsc.plug(card)
    monkeypatch.setattr("tests.hardware.__main__.at_key", lambda *, may_touch: hand(card)(may_touch))
    assert main(["--contract"], on(mfa_kit, []), lambda _: "TRY") == 0
    said = capsys.readouterr()
    ran = len(ROWS) + 1 - len(BLANK)
    assert f"{len(ROWS) + 1} rows: {ran} same, 0 differs, {len(BLANK)} not run" in said.out
    assert "| oath others-kept | all are kept | all are kept | same |" in said.out
    assert not [private for private in ("bank:me", str(card.serial)) if private in said.out]
    assert card.credentials == {b"bank:me": THEIRS}


def test_the_program_fills_a_blank_card_that_the_owner_names(
    mfa_kit: MfaKit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key without FIDO needs no reset: all credentials and the password of the rows are removed."""
    monkeypatch.setattr(sys, "stdin", sys.stdin)
    card = card_with()
    pcsc.plug(card)
    options = ["--contract", "--alone", "--erase", str(card.serial)]
    assert main(options, on(mfa_kit, []), lambda _: "ERASE") == 0
    assert f"{len(ROWS) + 1 - len(TOUCHED)} same, 0 differs, {len(TOUCHED)} not run" in capsys.readouterr().out
    assert (card.credentials, card.password) == ({}, None)
    card.credentials[b"bank:me"] = THEIRS
    assert main(options, on(mfa_kit, []), lambda _: "ERASE") == 2
    assert "because it is not blank: oath_used" in capsys.readouterr().err
