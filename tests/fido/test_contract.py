"""The contract with FIDO keys on the lab's key, on USB and in a reader: with and without planted deviations."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from fido2 import cbor
from fido2.ctap2.credman import CredentialManagement

from mfa_kit.adapters.fido import links
from mfa_kit.adapters.fido.key import open_key
from mfa_kit.adapters.oath.applet import Keys
from mfa_kit.core.errors import DeviceFault
from mfa_kit.lab.devices import fidocard
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.clientpin import RETRIES, ClientPin
from mfa_kit.lab.devices.ctap import CtapStatus
from mfa_kit.lab.devices.ctaphid import CANCEL
from mfa_kit.lab.devices.fidocard import FidoCard
from mfa_kit.lab.devices.securitykey import UP, UV, KeyModel, SimulatedKey, Touch, lab_key
from tests import pcsc
from tests.conftest import MfaKit
from tests.fido.conftest import Bus, Hands, has
from tests.fido.test_hardware_report import on
from tests.hardware import contract, fido
from tests.hardware.__main__ import Done, main
from tests.hardware.contract import Plugged
from tests.hardware.fido import ROWS, FidoBench
from tests.hardware.rows import Person, RowResult, Verdict, table, try_rows

NAMES = {row.name for row in ROWS}
BLANK = {row.name for row in ROWS if "blank" in row.needs}
TOUCHED = {row.name for row in ROWS if "touch" in row.needs}
CTAP2 = {row.name for row in ROWS if "ctap2" in row.needs}
OLD = KeyModel(versions=("U2F_V2", "FIDO_2_0"), protocols=(1,), firmware=(5, 1, 2))
U2F = KeyModel(aaguid=None, versions=("U2F_V2",))
# How often the person touches the key, without the reset: seven times to register, and twice to sign.
TOUCHES = 9
# How long the lab's key waits for a touch. A loaded computer must still cancel in time.
PATIENCE = 1.0
PATH = "/dev/hidraw0"


@dataclass
class Lab:
    """A key of the lab, with a person who touches it, or leaves it alone."""

    key: SimulatedKey
    where: str = PATH
    told: list[str] = field(default_factory=list)

    def touch(self, wanted: bool) -> None:
        self.key.behavior = replace(self.key.behavior, touch=0.0 if wanted else None)

    def erase(self) -> str:
        with open_key(self.where, tell=lambda _: None) as key:
            key.reset()
        return self.where

    def rows(self, *, blank: bool = True, alone: bool = False) -> list[RowResult]:
        """Try all rows."""
        erase, person = self.erase if blank else None, Person(self.told.append, None if alone else self.touch)
        return list(try_rows(ROWS, FidoBench(self.where, person, erase)))


@pytest.fixture
def plugged(bus: Bus, maker: AttestationCa) -> Callable[..., Lab]:
    """Return a function that plugs in a key. It does not wait long for a touch."""

    def plug(key: SimulatedKey | None = None, **how: Any) -> Lab:
        key = key or lab_key(maker)
        bus.plug(key, hid={"patience": PATIENCE}, **how)
        return Lab(key)

    return plug


def with_verdict(rows: list[RowResult], verdict: Verdict) -> set[str]:
    return {row.row for row in rows if row.verdict is verdict}


@pytest.mark.parametrize("model", [KeyModel(), OLD, KeyModel(fingerprint=True)], ids=["2.1", "2.0", "fingerprint"])
def test_the_lab_key_does_what_mfa_kit_relies_on(
    plugged: Callable[..., Lab], maker: AttestationCa, model: KeyModel
) -> None:
    """All rows are run on USB, and the key is blank afterwards."""
    lab = plugged(lab_key(maker, model=model))
    rows = lab.rows()
    assert with_verdict(rows, Verdict.SAME) == NAMES | {"nothing-left"}, table(rows)
    assert (lab.key.client_pin.hash, lab.key.resident) == (None, [])
    # While the person was told to leave the key alone, mfa-kit's own prompts are not shown.
    assert lab.told == ["touch your key now (30 s)"] * TOUCHES


def test_the_lab_key_does_the_same_in_a_reader(maker: AttestationCa, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows are run over a real pcscd."""
    monkeypatch.setattr(fidocard, "PATIENCE", PATIENCE)
    key = lab_key(maker)
    pcsc.plug(FidoCard(key))
    rows = Lab(key, pcsc.reader(0)).rows()
    assert with_verdict(rows, Verdict.SAME) == NAMES | {"nothing-left"}, table(rows)


def behave(**how: Any) -> Callable[[SimulatedKey], None]:
    def change(key: SimulatedKey) -> None:
        key.behavior = replace(key.behavior, **how)

    return change


def pin_of(**how: Any) -> Callable[[SimulatedKey], None]:
    def change(key: SimulatedKey) -> None:
        for name, changed in how.items():
            setattr(key.client_pin, name, changed)

    return change


def forget(key: SimulatedKey) -> None:
    """Drop the exclude list of each makeCredential."""
    real = key.cbor

    def answer(request: bytes, touch: Touch) -> bytes:
        if request[:1] == b"\x01":
            members: Any = cbor.decode(request[1:])
            request = request[:1] + cbor.encode({number: sent for number, sent in members.items() if number != 5})
        return real(request, touch)

    key.cbor = answer  # type: ignore[method-assign]


def ignore_count(key: SimulatedKey) -> None:
    """Count no wrong PIN."""

    class Uncounted(ClientPin):
        def __setattr__(self, name: str, changed: object) -> None:
            super().__setattr__(name, RETRIES if name == "retries" else changed)

    key.client_pin = Uncounted()


DEVIATIONS: dict[str, tuple[Callable[[SimulatedKey], None], set[str]]] = {
    "self-attestation": (behave(attestation="self"), {"statement"}),
    "no attestation": (behave(attestation="none"), {"format", "statement"}),
    "U2F attestation": (behave(attestation="fido-u2f"), {"format", "aaguid"}),
    "broken attestation": (behave(attestation="other"), {"register", "format", "statement", "pin-register"}),
    "no presence": (behave(hide=UP), {"register", "statement", "assertion", "pin-register", "pin-assertion"}),
    "no verification": (behave(hide=UV), {"pin-register", "pin-assertion"}),
    "excludes nothing": (forget, {"excluded"}),
    "counts no wrong PIN": (ignore_count, {"pin-wrong", "pin-change-wrong", "pin-three-wrong"}),
    "another status": (pin_of(wrong_pin=CtapStatus.OTHER), {"pin-wrong", "pin-change-wrong"}),
    "resets nothing": (lambda key: setattr(key, "reset", lambda: None), {"reset", "nothing-left"}),
}


@pytest.mark.parametrize("name", DEVIATIONS)
def test_a_planted_deviation_is_reported_as_its_rows(plugged: Callable[..., Lab], name: str) -> None:
    """Exactly these rows differ, and all others are the same."""
    change, expected = DEVIATIONS[name]
    lab = plugged()
    change(lab.key)
    rows = lab.rows()
    assert with_verdict(rows, Verdict.DIFFERS) == expected, table(rows)
    assert with_verdict(rows, Verdict.NOT_RUN) == set()


UNUSED = {row.name for row in ROWS if "unused" in row.needs}


def may_be_used(lab: Lab) -> None:
    """Try all rows, and assert that the one that counts is the last of those about the PIN, and the key is kept."""
    rows = lab.rows()
    assert with_verdict(rows, Verdict.NOT_RUN) == UNUSED, table(rows)
    assert {"unused", "nothing-left"} <= with_verdict(rows, Verdict.DIFFERS)
    [said] = [said for said in lab.told if "is not erased, because it may have passkeys" in said]
    assert has(lab.key, said.split()[-1])


def test_passkeys_that_only_a_pin_shows_are_not_erased(plugged: Callable[..., Lab]) -> None:
    """The owner gets the PIN that was set."""
    lab = plugged()
    lab.key.resident.append(("example.org", b"id"))
    may_be_used(lab)
    assert lab.key.resident == [("example.org", b"id")]


def test_a_key_that_keeps_the_credentials_of_the_rows_is_not_erased(plugged: Callable[..., Lab]) -> None:
    """Nobody can tell them from those of the owner."""
    lab = plugged()
    lab.key.behavior = replace(lab.key.behavior, keep=True)
    may_be_used(lab)
    assert lab.key.resident


def test_a_key_that_cannot_count_its_passkeys_is_not_erased(
    plugged: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could have some."""
    monkeypatch.setattr(CredentialManagement, "is_supported", lambda _: False)
    may_be_used(plugged())


@pytest.mark.usefixtures("stdin")
def test_the_program_erases_no_passkeys(
    plugged: Callable[..., Lab], mfa_kit: MfaKit, capsys: pytest.CaptureFixture[str]
) -> None:
    """It never runs the command that resets, and the PIN is on the terminal and not in the report."""
    lab, sent = plugged(serial="KEY-7"), list[Sequence[str]]()
    lab.key.resident.append(("example.org", b"id"))
    assert main(["--contract", "--alone", "--erase", "KEY-7"], on(mfa_kit, sent), lambda _: "ERASE") == 1
    said = capsys.readouterr()
    assert {words[:2] for words in sent} == {("key", "list"), ("key", "info")}
    assert lab.key.resident == [("example.org", b"id")]
    assert has(lab.key, fido.FIRST.reveal())
    assert f"it may have passkeys; if it has a PIN now, it is {fido.FIRST.reveal()}\n" in said.err
    assert fido.FIRST.reveal() not in said.out


@pytest.mark.usefixtures("stdin")
def test_a_reset_that_fails_without_a_word_is_a_row(
    plugged: Callable[..., Lab], mfa_kit: MfaKit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report has the rows before it too."""
    plugged(serial="KEY-7")
    monkeypatch.setattr(fido, "ROWS", [row for row in ROWS if row.name in {"pin-set", "unused", "reset"}])
    real = on(mfa_kit, [])

    def run(arguments: Sequence[str], stdin: str) -> Done:
        return Done(3, "", "") if arguments[1] == "reset" else real(arguments, stdin)

    assert main(["--contract", "--alone", "--erase", "KEY-7"], run, lambda _: "ERASE") == 1
    assert "| fido reset | no PIN | the reset failed | differs |" in capsys.readouterr().out


@pytest.mark.usefixtures("stdin")
def test_a_half_that_can_no_longer_be_opened_is_a_row_that_differs(
    plugged: Callable[..., Lab], mfa_kit: MfaKit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`key info` has read it. A half that the key never had is no row."""
    plugged(serial="KEY-7")
    monkeypatch.setattr(fido, "ROWS", [row for row in ROWS if row.name == "info"])
    real = on(mfa_kit, [])

    def run(arguments: Sequence[str], stdin: str) -> Done:
        done = real(arguments, stdin)
        read = json.loads(done.out)
        return replace(done, out=json.dumps({**read, "oath_used": None})) if arguments[1] == "info" else done

    def fail(*_: object) -> object:
        raise DeviceFault("there is no smart card service", "start pcscd")

    monkeypatch.setattr(Keys, "look", fail)
    assert main(["--contract", "--alone"], run, lambda _: "TRY") == 1
    differing = [line for line in capsys.readouterr().out.splitlines() if "| differs |" in line]
    assert differing == ["| oath open | it answers | there is no smart card service | differs |"]
    assert main(["--contract", "--alone"], real, lambda _: "TRY") == 0
    monkeypatch.setattr(contract, "find_key", lambda _: Plugged(None, None, (DeviceFault("no access", ""),)))
    assert main(["--contract", "--alone"], real, lambda _: "TRY") == 1
    assert "| fido open | it answers | no access | differs |" in capsys.readouterr().out


def test_the_pin_of_the_owner_is_left_alone(plugged: Callable[..., Lab], maker: AttestationCa) -> None:
    """No row tries it, and the key is not erased, also if the owner says that it is blank."""
    lab = plugged(lab_key(maker, pin="48151623"))
    before = replace(lab.key.client_pin)
    rows = lab.rows()
    assert with_verdict(rows, Verdict.NOT_RUN) == BLANK
    assert with_verdict(rows, Verdict.DIFFERS) == set()
    assert (lab.key.client_pin.hash, lab.key.client_pin.tries) == (before.hash, 0)


def test_a_key_that_wants_the_pin_of_its_owner_registers_nothing(
    plugged: Callable[..., Lab], maker: AttestationCa
) -> None:
    """The rows that would need the PIN are not run."""
    lab = plugged(lab_key(maker, pin="48151623"))
    lab.key.behavior = replace(lab.key.behavior, uv_not_required=False)
    rows = lab.rows(blank=False)
    assert with_verdict(rows, Verdict.NOT_RUN) == BLANK | TOUCHED
    assert (with_verdict(rows, Verdict.DIFFERS), lab.key.registered) == (set(), 0)


def test_a_u2f_key_has_the_rows_of_u2f(plugged: Callable[..., Lab], maker: AttestationCa) -> None:
    """It has no getInfo and no PIN."""
    rows = plugged(lab_key(maker, model=U2F)).rows()
    assert with_verdict(rows, Verdict.NOT_RUN) == CTAP2 | BLANK
    assert with_verdict(rows, Verdict.DIFFERS) == set(), table(rows)


def test_rows_that_nobody_can_touch_for_are_not_run(plugged: Callable[..., Lab]) -> None:
    """The others are."""
    lab = plugged()
    rows = lab.rows(blank=False, alone=True)
    assert with_verdict(rows, Verdict.NOT_RUN) == BLANK | TOUCHED
    assert (with_verdict(rows, Verdict.DIFFERS), lab.key.registered) == (set(), 0)


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back the standard input that `on` replaces."""
    monkeypatch.setattr(sys, "stdin", sys.stdin)


def touches(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.hardware.__main__.at_key", lambda *, may_touch: lab.touch(may_touch))


@pytest.mark.usefixtures("stdin")
def test_the_program_reports_each_row_without_the_serial(
    plugged: Callable[..., Lab], mfa_kit: MfaKit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks first, tries the rows that keep the key as it is, and shows the serial only if asked to."""
    lab = plugged(serial="LAB-12345678")
    touches(lab, monkeypatch)
    assert main(["--contract"], on(mfa_kit, []), lambda _: "TRY") == 0
    said = capsys.readouterr()
    assert "| fido register | valid, touched, not verified | valid, touched, not verified | same |" in said.out
    assert f"{len(ROWS) + 1} rows: {len(ROWS) + 1 - len(BLANK)} same, 0 differs, {len(BLANK)} not run" in said.out
    assert "12345678" not in said.out + said.err
    lab.key.behavior = replace(lab.key.behavior, attestation="self")
    monkeypatch.setattr(fido, "ROWS", [row for row in ROWS if row.name in {"register", "statement"}])
    assert main(["--contract", "--json", "--show-serial"], on(mfa_kit, []), lambda _: "TRY") == 1
    report = json.loads(capsys.readouterr().out)
    assert [row["row"] for row in report["rows"] if row["verdict"] == "differs"] == ["fido statement"]
    assert report["key"]["serial"] == "LAB-12345678"


@pytest.mark.parametrize(
    ("arguments", "answer", "said"),
    [
        (["--contract"], "yes", "you did not type TRY"),
        (["--contract", "--erase", "KEY-8"], "ERASE", "it is not KEY-8"),
        (["--contract", "--erase", "KEY-7"], "TRY", "you did not type ERASE"),
    ],
    ids=["not confirmed", "another key", "not confirmed to be erased"],
)
@pytest.mark.usefixtures("stdin")
def test_the_program_leaves_a_key_alone(
    plugged: Callable[..., Lab],
    mfa_kit: MfaKit,
    capsys: pytest.CaptureFixture[str],
    arguments: Sequence[str],
    answer: str,
    said: str,
) -> None:
    """Without consent for this very key, no row is run."""
    lab = plugged(serial="KEY-7")
    assert main(arguments, on(mfa_kit, []), lambda _: answer) == 2
    assert f"the key is left as it is, because {said}" in capsys.readouterr().err
    assert (lab.key.registered, lab.key.client_pin.hash) == (0, None)


@pytest.mark.usefixtures("stdin")
def test_a_used_key_may_not_be_erased(
    plugged: Callable[..., Lab], maker: AttestationCa, mfa_kit: MfaKit, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused before the question, and before the first row."""
    plugged(lab_key(maker, pin="48151623"), serial="KEY-7")
    assert main(["--contract", "--erase", "KEY-7"], on(mfa_kit, []), lambda _: "ERASE") == 2
    assert "because it is not blank: fido_pin" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("stdin")
def test_the_program_erases_a_blank_key_at_the_end(
    bus: Bus,
    plugged: Callable[..., Lab],
    mfa_kit: MfaKit,
    capsys: pytest.CaptureFixture[str],
    hands: Hands,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The person plugs it out and in for the reset, as mfa-kit asks. No PIN is in the report."""
    lab = plugged(serial="KEY-7")
    touches(lab, monkeypatch)
    hands(bus, lambda: lab.key)
    assert main(["--contract", "--erase", "KEY-7"], on(mfa_kit, []), lambda _: "ERASE") == 0
    said = capsys.readouterr()
    assert f"{len(ROWS) + 1} rows: {len(ROWS) + 1} same, 0 differs, 0 not run" in said.out
    assert lab.key.client_pin.hash is None
    assert not [pin for pin in (fido.FIRST, fido.SECOND, fido.WRONG) if pin.reveal() in said.out]


def test_a_key_that_goes_on_waiting_is_two_rows(
    bus: Bus, maker: AttestationCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends no request by itself, and a cancel does not reach it."""
    for name in ("TOUCH", "SLACK"):
        monkeypatch.setattr(links, name, 0.3)
    slot = bus.plug(lab_key(maker))
    connect = slot.connect

    def deaf() -> Any:
        connection = connect()
        write = connection.write_packet
        connection.write_packet = lambda data: None if data[4] == 0x80 | CANCEL else write(data)  # type: ignore[method-assign]
        return connection

    slot.connect = deaf  # type: ignore[method-assign]
    rows = Lab(slot.key).rows(blank=False)
    assert with_verdict(rows, Verdict.DIFFERS) == {"cancel", "no-touch"}, table(rows)
