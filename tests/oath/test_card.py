"""Tests of the lab's card through pcscd, pyscard and yubikit, with the standards' vectors and independent judges."""

import base64
import hmac
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from yubikit.core.smartcard import ApduError
from yubikit.oath import HASH_ALGORITHM, OATH_TYPE, CredentialData, OathSession

from mfa_kit.adapters.oath.applet import Keys
from mfa_kit.adapters.oath.pcsc import Wire
from mfa_kit.core import otp
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.apdu import ATR_NFC, SELECT, Pulled, StatusWord, tlv
from mfa_kit.lab.devices.oathcard import (
    AID_MANAGEMENT,
    AID_OATH,
    CALCULATE,
    CALCULATE_ALL,
    CHALLENGE,
    DELETE,
    LIST,
    NAME,
    PROPERTY,
    PUT,
    RENAME,
    RESET,
    RESPONSE,
    SET_CODE,
    VALIDATE,
    WANTS_TOUCH,
    YkoathCard,
)
from mfa_kit.lab.devices.oathcard import KEY as KEY_TAG
from tests import pcsc
from tests.conftest import ACCOUNT, MfaKit, judge
from tests.oath.conftest import only

# RFC 4226, appendix D.
HOTP = ("755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489")
# RFC 6238, appendix B. Its keys are the ASCII digits, repeated to the length of the hash (erratum 2866).
KEY = b"1234567890" * 7
TOTP = (
    (59, ("94287082", "46119246", "90693936")),
    (1111111109, ("07081804", "68084774", "25091201")),
    (1111111111, ("14050471", "67062674", "99943326")),
    (1234567890, ("89005924", "91819424", "93441116")),
    (2000000000, ("69279037", "90698825", "38618901")),
    (20000000000, ("65353130", "77737706", "47863826")),
)
HASHES = ((HASH_ALGORITHM.SHA1, 20), (HASH_ALGORITHM.SHA256, 32), (HASH_ALGORITHM.SHA512, 64))


@contextmanager
def session(reader: int = 0) -> Iterator[OathSession]:
    """Open yubikit's own session on a reader."""
    wire = Wire(pcsc.reader(reader))
    try:
        yield OathSession(wire)
    finally:
        wire.close()


def totp(name: str, hash_algorithm: HASH_ALGORITHM, secret: bytes, digits: int = 6) -> CredentialData:
    return CredentialData(name, OATH_TYPE.TOTP, hash_algorithm, secret, digits=digits)


@pytest.mark.usefixtures("card")
def test_hotp_values_are_those_of_rfc_4226() -> None:
    """The card computes the values of the counters 0 to 9 in order."""
    with session() as oath:
        held = oath.put_credential(CredentialData("hotp", OATH_TYPE.HOTP, HASH_ALGORITHM.SHA1, KEY[:20]))
        assert tuple(oath.calculate_code(held).value for _ in HOTP) == HOTP


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("number", range(3), ids=["sha1", "sha256", "sha512"])
def test_totp_values_are_those_of_rfc_6238(number: int) -> None:
    """Tests each hash of the RFC at each of its times."""
    algorithm, length = HASHES[number]
    with session() as oath:
        held = oath.put_credential(totp("totp", algorithm, KEY[:length], digits=8))
        assert [(at, oath.calculate_code(held, at).value) for at, _ in TOTP] == [
            (at, codes[number]) for at, codes in TOTP
        ]


@pytest.mark.usefixtures("card")
def test_the_adapter_computes_what_oathtool_computes(keys: Keys) -> None:
    """The seed has 40 octets, like the seeds of AWS. The expected codes are those of Debian's oathtool."""
    secret, at = bytes(range(40)), 1_700_000_000
    with keys.open(only(keys)) as applet:
        applet.put("AWS:alice@123456789012", Seed(secret), touch=False)
        code = applet.code("AWS:alice@123456789012", at, touch=False)
    told = subprocess.run(
        [judge("oathtool"), "--totp", "--base32", f"--now=@{at}", base64.b32encode(secret).decode()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == code


@pytest.mark.usefixtures("card")
def test_long_responses_come_in_parts() -> None:
    """For thirty names of 60 octets, one LIST has eight responses."""
    names = {f"{number:060}" for number in range(30)}
    with session() as oath:
        for name in names:
            oath.put_credential(totp(name, HASH_ALGORITHM.SHA1, KEY[:20]))
        assert {held.name for held in oath.list_credentials()} == names
        assert {held.name for held in oath.calculate_all(59)} == names


def test_a_short_apdu_of_more_than_255_octets_comes_in_a_chain() -> None:
    """For a contactless reader's ATR, yubikit uses short APDUs."""
    card = YkoathCard(atr=ATR_NFC)
    pcsc.plug(card)
    with session() as oath:
        held = oath.put_credential(totp("n" * 60, HASH_ALGORITHM.SHA512, bytes(128)))
        card.log.clear()
        oath.protocol.send_apdu(0, LIST, 0, 0, bytes(300))
        assert card.log == [LIST, LIST]
        assert [each.id for each in oath.list_credentials()] == [held.id]


def test_a_card_renames_deletes_and_resets(card: YkoathCard) -> None:
    """A deleted credential is not found, and a reset changes the identity."""
    with session() as oath:
        old = oath.put_credential(totp("old", HASH_ALGORITHM.SHA1, KEY[:20]))
        new = oath.rename_credential(old.id, "new")
        with pytest.raises(ApduError, match="6984"):
            oath.calculate_code(old, 59)
        oath.delete_credential(new)
        assert oath.list_credentials() == []
        before = oath.device_id
        oath.reset()
        assert oath.device_id != before
        assert not card.credentials


def test_a_full_card_answers_no_space() -> None:
    """The status is NO SPACE, as the protocol requires."""
    pcsc.plug(YkoathCard(capacity=1))
    with session() as oath:
        oath.put_credential(totp("one", HASH_ALGORITHM.SHA1, KEY[:20]))
        with pytest.raises(ApduError, match="6a84"):
            oath.put_credential(totp("two", HASH_ALGORITHM.SHA1, KEY[:20]))


@pytest.mark.usefixtures("card")
def test_a_password_locks_a_card_until_it_is_given() -> None:
    """A session that was opened before the password stays open. The next session is locked."""
    with session() as oath:
        key = oath.derive_key("secret")
        oath.set_key(key)
    with session() as oath:
        assert oath.locked
        with pytest.raises(ApduError, match="6982"):
            oath.list_credentials()
        with pytest.raises(ApduError, match="6a80"):
            oath.validate(oath.derive_key("wrong"))
        oath.validate(key)
        oath.unset_key()
    with session() as oath:
        assert not oath.locked


def test_the_card_requires_a_touch(card: YkoathCard) -> None:
    """CALCULATE waits for the touch. CALCULATE ALL only reports that a touch is required."""
    with session() as oath:
        held = oath.put_credential(totp("touchy", HASH_ALGORITHM.SHA1, KEY[:20]), touch_required=True)
        assert oath.calculate_all(59) == {held: None}
        assert card.touches == 0
        oath.calculate_code(held, 59)
        assert card.touches == 1


def select(card: YkoathCard, aid: bytes = AID_OATH) -> None:
    assert card.answer(bytes([0, SELECT, 4, 0, len(aid)]) + aid)[-2:] == b"\x90\0"


def command(ins: int, data: bytes = b"", *, p2: int = 0) -> bytes:
    return bytes([0, ins, 0, p2, len(data)]) + data


@pytest.mark.usefixtures("card")
def test_a_full_response_is_the_whole_hmac() -> None:
    """CALCULATE and CALCULATE ALL work without truncation.

    CALCULATE ALL returns no code of a counter-based credential.
    """
    with session() as oath:
        held = oath.put_credential(totp("full", HASH_ALGORITHM.SHA512, KEY[:64]))
        counted = oath.put_credential(CredentialData("hotp", OATH_TYPE.HOTP, HASH_ALGORITHM.SHA1, KEY[:20]))
        challenge = (1).to_bytes(8)
        whole = hmac.digest(KEY[:64], challenge, "sha512")
        assert oath.calculate(held.id, challenge) == whole
        every = oath.protocol.send_apdu(0, CALCULATE_ALL, 0, 0, tlv(CHALLENGE, challenge))
        assert tlv(RESPONSE, b"\x06" + whole) in every
        assert oath.calculate_all(59)[counted] is None


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (command(0x7F), 0x6D00),
        (bytes([0, RESET, 0, 0]), 0x6A80),
        (command(VALIDATE, tlv(RESPONSE, bytes(20)) + tlv(CHALLENGE, bytes(8))), 0x6984),
        (command(SET_CODE, tlv(KEY_TAG, bytes(17)) + tlv(CHALLENGE, bytes(8)) + tlv(RESPONSE, bytes(20))), 0x6984),
        (command(PUT, tlv(NAME, b"n" * 65) + tlv(KEY_TAG, b"\x21\x06" + bytes(20))), 0x6A80),
        (command(PUT, tlv(NAME, b"n") + tlv(KEY_TAG, b"\x2f\x06" + bytes(20))), 0x6A80),
        (command(RENAME, tlv(NAME, b"one") + tlv(NAME, b"two")), 0x6984),
        (command(DELETE, tlv(NAME, b"nobody")), 0x6984),
    ],
    ids=["unknown", "reset", "no password", "code", "name", "hash", "rename", "delete"],
)
def test_a_card_refuses_what_the_protocol_refuses(octets: bytes, status: int) -> None:
    """The status words are those of Yubico's documentation, and nothing on the card changes."""
    card = YkoathCard()
    select(card)
    for name in (b"one", b"two"):
        card.answer(command(PUT, tlv(NAME, name) + tlv(KEY_TAG, b"\x21\x06" + bytes(20))))
    before = dict(card.credentials)
    assert card.answer(octets) == status.to_bytes(2)
    assert card.credentials == before
    assert card.password is None


def test_a_card_without_a_serial_has_a_management_applet_all_the_same() -> None:
    """The management applet does not know the commands of the other applet."""
    card = YkoathCard(serial=None)
    select(card, AID_MANAGEMENT)
    assert card.answer(command(LIST)) == StatusWord.INS_NOT_SUPPORTED.to_bytes(2)
    pcsc.plug(card)
    (key,), _ = Keys(say=print, password=lambda _: Secret("")).look()
    assert (key.what, key.serial) == ("YubiKey 5A", None)


def test_a_card_removed_during_a_touch_gives_no_response() -> None:
    """The reader no longer has a card."""
    card = YkoathCard(touch_delay=30)
    select(card)
    card.answer(command(PUT, tlv(NAME, b"n") + tlv(KEY_TAG, b"\x21\x06" + bytes(20)) + bytes([PROPERTY, WANTS_TOUCH])))
    card.gone.set()
    with pytest.raises(Pulled):
        card.answer(command(CALCULATE, tlv(NAME, b"n") + tlv(CHALLENGE, bytes(8)), p2=1))


@pytest.mark.slow
def test_ykman_lists_and_computes_an_enrolled_credential(
    mfa_kit: MfaKit, lab: Lab, user: str, card: YkoathCard
) -> None:
    """On a reader that ykman accepts, with a touch and by the displayed label, the code equals that of oathtool."""
    done = mfa_kit.run("enroll", user, "--with", "oath")
    assert done.code == 0, done.err
    label = f"AWS:{user}@{ACCOUNT}"
    assert f"ykman oath accounts code --single {label}" in done.err

    def told(program: str, *args: str) -> str:
        return subprocess.run([judge(program), *args], capture_output=True, text=True, check=True).stdout.strip()

    def ykman(*args: str) -> str:
        return told("ykman", "--device", str(card.serial), "oath", "accounts", *args)

    assert ykman("list").split() == [label]
    before = int(time.time())
    code = ykman("code", "--single", label)
    assert card.touches == 3
    secret = base64.b32encode(lab.seed(f"arn:aws:iam::{ACCOUNT}:mfa/{user}")).decode()
    steps = range(before, int(time.time()) + otp.PERIOD, otp.PERIOD)
    assert code in [told("oathtool", "--totp", "--base32", f"--now=@{at}", secret) for at in steps]
