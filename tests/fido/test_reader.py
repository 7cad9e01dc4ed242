"""Tests of FIDO in a smart card reader with a real pcscd, pyscard and python-fido2, in a separate process."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mfa_kit.core.errors import DeviceFault
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.fidocard import FidoCard
from mfa_kit.lab.devices.reader import Readers
from mfa_kit.lab.devices.securitykey import KeyBehavior, KeyModel, SimulatedKey, lab_key
from tests.conftest import ROOT, bare, without
from tests.fido.conftest import SITE, Desk, Port, Published, publish
from tests.sizes import sample

pytestmark = pytest.mark.slow
READER = "Contactless reader"
PRODUCT = "Maker Key FIDO+CCID"
# pcscd polls every 0.4 s. A card that is removed and inserted again between two polls is never powered.
NOTICED = 1.0
U2F = KeyModel(aaguid=None, versions=("U2F_V2",))


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    """Start a private pcscd with two readers, one of which has the name of a key on USB."""
    try:
        with Readers([READER, PRODUCT]) as readers:
            yield readers
    except DeviceFault as fault:
        without(f"{fault}; {fault.hint}")


@contextmanager
def inserted(readers: Readers, card: FidoCard, *, reader: int = 0) -> Iterator[None]:
    """Keep a card in a reader."""
    readers.insert(card, reader)
    try:
        yield
    finally:
        readers.remove(reader)
        time.sleep(NOTICED)


@pytest.fixture
def at_reader(readers: Readers, tmp_path: Path) -> Desk:
    """Return a desk with readers and no USB."""
    return Desk(tmp_path / "desk", {**readers.env, "PYTHONPATH": f"{SITE}:{ROOT}"})


@pytest.mark.parametrize(
    "model", [KeyModel(transports=("nfc",)), KeyModel(versions=("FIDO_2_1",)), U2F], ids=["both", "ctap2", "u2f"]
)
def test_a_key_in_a_reader_is_verified(
    readers: Readers, at_reader: Desk, maker: AttestationCa, tmp_path: Path, model: KeyModel
) -> None:
    """Keys with CTAP2 and with CTAP1 are tested, with long answers in parts."""
    issued = maker.certificate(model.aaguid)
    entries = [maker.entry("key", aaguid="6d66616b-6974-0000-0000-000000000001")]
    if model is U2F:
        entries = [maker.entry("key", identifiers=[issued.identifier])]
    published = publish(tmp_path, maker, entries)
    with inserted(readers, FidoCard(SimulatedKey(issued, model=model))):
        done = at_reader.process("verify", "fido2", "--output", "json", *published.options)
    assert done.code == 0, done.err
    assert json.loads(done.out)["place"].startswith(READER)


def test_a_late_touch_and_a_pin_work_over_a_reader_too(
    readers: Readers, at_reader: Desk, maker: AttestationCa, published: Published
) -> None:
    """The card answers 9100 until it is touched."""
    key = lab_key(maker, pin="1234567", behavior=KeyBehavior(touch=0.5, always_uv=True))
    with inserted(readers, FidoCard(key)):
        process = at_reader.start("verify", "fido2", "--pin-stdin", *published.options, stdin=subprocess.PIPE)
        _, err = process.communicate("1234567\n", timeout=50)
    assert process.returncode == 0, err
    assert (key.client_pin.tries, key.client_pin.retries) == (2, 8)


def test_a_blocked_pin_is_not_sent_again_by_a_reconnect(
    readers: Readers, at_reader: Desk, maker: AttestationCa, published: Published
) -> None:
    """python-fido2 would reconnect to a reader and send the PIN again."""
    key = lab_key(maker, pin="1234567", behavior=KeyBehavior(always_uv=True))
    card = FidoCard(key)
    with inserted(readers, card):
        card.power = lambda: None  # type: ignore[method-assign] # a power-up would reset wrong_in_a_row
        key.client_pin.wrong_in_a_row = 2
        process = at_reader.start("verify", "fido2", "--pin-stdin", *published.options, stdin=subprocess.PIPE)
        _, err = process.communicate("wrong-1\n", timeout=50)
    assert (process.returncode, key.client_pin.tries) == (3, 1)
    assert "accepts no PIN until it is unplugged" in err


def test_a_wrong_pin_with_a_vendors_status_is_noticed_by_the_tries(
    readers: Readers, at_reader: Desk, maker: AttestationCa, published: Published
) -> None:
    """python-fido2 shows each unknown status word as CTAP 0x7F."""
    key = lab_key(maker, pin="1234567", behavior=KeyBehavior(always_uv=True))
    with inserted(readers, FidoCard(key, wrong_pin=0x6431)):
        process = at_reader.start("verify", "fido2", "--pin-stdin", *published.options, stdin=subprocess.PIPE)
        _, err = process.communicate("wrong-1\n", timeout=50)
    assert (process.returncode, key.client_pin.tries) == (3, 1)
    assert "the key counted a wrong PIN; 7 tries are left" in err


def test_a_response_without_progress_ends_at_once(readers: Readers, at_reader: Desk, key: SimulatedKey) -> None:
    """If a part has no data but announces more, no other part is requested."""
    card = FidoCard(key, stalls=True)
    with inserted(readers, card):
        done = at_reader.process("verify", "fido2")
    assert done.code == 3
    assert "the key sends an endless answer" in done.err
    assert card.count < 20


def test_the_same_key_on_usb_and_in_a_reader_is_listed_once(
    readers: Readers, at_reader: Desk, maker: AttestationCa, tmp_path: Path
) -> None:
    """A second key in another reader is listed separately."""
    key, other = lab_key(maker, model=KeyModel(product=PRODUCT)), lab_key(maker)
    port = Port(tmp_path / "0", key)
    env = {**port.env, "TEST_HID_PRODUCT": PRODUCT}
    try:
        with inserted(readers, FidoCard(key), reader=1):
            done = at_reader.process("key", "list", "--output", "json", env=env)
            assert [row["where"] for row in json.loads(done.out)["rows"]] == [["/dev/hidraw0"]]
            with inserted(readers, FidoCard(other)):
                done = at_reader.process("key", "list", "--output", "json", env=env)
        places = [row["where"][0] for row in json.loads(done.out)["rows"]]
        assert places == ["/dev/hidraw0", f"{READER} 00 00"]
    finally:
        port.close()


# The commands after a verification, with which mfa-kit looks whether the key has an OATH applet too.
LOOKS = 3


def test_removal_at_every_apdu_is_reported_as_removal(
    readers: Readers, at_reader: Desk, key: SimulatedKey, published: Published
) -> None:
    """The card may disappear after any command. What was verified before remains verified."""
    whole = FidoCard(key)
    with inserted(readers, whole):
        assert at_reader.process("verify", "fido2", *published.options).code == 0
    assert whole.count > 10 + LOOKS
    for last in sample(range(1, whole.count + 1), 6):
        with inserted(readers, FidoCard(key, pulled_at=last)):
            done = at_reader.process("verify", "fido2", *published.options)
        if last > whole.count - LOOKS:
            assert (done.code, "genuine" in done.out) == (0, True), last
        else:
            assert (done.code, done.out) == (3, ""), last
            assert "the key was removed" in done.err or "there is no security key" in done.err, last


@pytest.mark.parametrize("at", [1, 8])
def test_a_silent_card_ends_at_the_deadline(
    readers: Readers, at_reader: Desk, key: SimulatedKey, published: Published, at: int
) -> None:
    """The program ends after seconds, although a thread still waits in PC/SC."""
    with inserted(readers, FidoCard(key, mute_at=at)):
        done = at_reader.process("verify", "fido2", *published.options)
    assert done.code == 3
    assert "the key does not answer" in done.err


HOLD = """
import sys
from smartcard.System import readers
from smartcard.scard import SCARD_SHARE_EXCLUSIVE
card = next(each for each in readers() if str(each).startswith(sys.argv[1])).createConnection()
card.connect(mode=SCARD_SHARE_EXCLUSIVE)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_card_held_by_another_program_is_an_error(
    readers: Readers, at_reader: Desk, key: SimulatedKey, published: Published
) -> None:
    """mfa-kit does not kill the other program."""
    with inserted(readers, FidoCard(key)):
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, READER],
            env={**bare(), **readers.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with holder:
            assert holder.stdout
            assert holder.stdout.readline() == "held\n"
            done = at_reader.process("verify", "fido2", *published.options)
            assert holder.poll() is None
            assert holder.stdin
            holder.stdin.close()
    assert done.code == 3
    assert "is in use by another program" in done.err


def test_a_card_of_another_kind_is_not_a_key(readers: Readers, at_reader: Desk, key: SimulatedKey) -> None:
    """The card has no FIDO applet."""
    card = FidoCard(key)
    card.answer = lambda _: b"\x6a\x82"  # type: ignore[assignment]
    with inserted(readers, card):
        done = at_reader.process("verify", "fido2")
    assert (done.code, "there is no security key" in done.err) == (3, True)


def test_without_pyscard_usb_works_and_the_hint_names_the_extra(
    tmp_path: Path, key_at_process: SimulatedKey, port: Port, published: Published
) -> None:
    """FIDO over PC/SC requires the extra; FIDO over USB does not."""
    (tmp_path / "smartcard.py").write_text("raise ImportError\n")
    path = f"{tmp_path}:{SITE}:{ROOT}"
    nothing = Desk(tmp_path / "desk", {"PYTHONPATH": path}).process("verify", "fido2", *published.options)
    assert nothing.code == 3
    assert "for NFC and smart card readers install 'mfa-kit[oath]'" in nothing.err
    done = Desk(tmp_path / "desk", {**port.env, "PYTHONPATH": path}).process("key", "list", "--output", "json")
    assert [row["where"] for row in json.loads(done.out)["rows"]] == [["/dev/hidraw0"]]
    assert key_at_process.registered == 0


CONTEXTS = """
import gc
from smartcard.pcsc import PCSCCardConnection as connections
from mfa_kit.adapters.fido import links
held = set()
establish, release = connections.SCardEstablishContext, connections.SCardReleaseContext
def count(scope):
    status, context = establish(scope)
    held.add(context)
    return status, context
connections.SCardEstablishContext = count
connections.SCardReleaseContext = lambda context: (held.discard(context), release(context))[1]
gc.disable()
print(len([links.find_keys() for _ in range(3)][-1][0]), len(held))
"""


def test_no_context_of_the_service_is_kept(readers: Readers, at_reader: Desk, maker: AttestationCa) -> None:
    """Without this, a wait of a minute would use up the contexts, and the key would seem to be unplugged.

    The program collects its garbage late. Empty readers, to which a connection fails, count too.
    """
    with inserted(readers, FidoCard(lab_key(maker))):
        done = subprocess.run(
            [sys.executable, "-c", CONTEXTS],
            env={**bare(), **at_reader.env},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.split() == ["1", "0"]
