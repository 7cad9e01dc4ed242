"""PSKC, checked with RFC 6030's own figures and Debian's pskctool, and each reason to refuse a container."""

import base64
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfa_kit.adapters.seedfiles import files
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.tokens.seeds import DroppedRow, SeedFile
from tests.conftest import judge
from tests.tokens import boxes
from tests.tokens.boxes import Made

FIGURES = Path(__file__).parent / "rfc6030"
# The figures of RFC 6030 use the seed of RFC 4226.
SEED = Seed(b"12345678901234567890")
OPENS = {6: "12345678901234567890123456789012", 7: "qwerty"}
THEN = datetime(2006, 5, 10, tzinfo=UTC).timestamp()


def figure(number: int) -> SeedFile:
    return files.read_seed_file(
        (FIGURES / f"figure{number}.xml").read_bytes(), lambda _: Secret(OPENS[number]), now=THEN
    )


@pytest.mark.parametrize(("number", "serial", "digits"), [
    (3, "987654321", 8), (5, "987654321", 8), (6, "987654321", 8), (7, "987654321", 8), (9, "0755225266", 6),
])  # fmt: skip
def test_the_figures_of_rfc_6030_are_read(number: int, serial: str, digits: int) -> None:
    """The figures have plain keys, a PIN key, a pre-shared key, a passphrase, and a signature."""
    (reading,) = figure(number).readings
    (key,) = reading.keys
    assert (key.token.serial, key.token.digits, key.token.counter, key.seed) == (serial, digits, 0, SEED)


def test_the_key_of_a_pin_is_not_a_token() -> None:
    """Figure 5 of RFC 6030 has a key for a PIN, which is skipped with its reason."""
    (reading,) = figure(5).readings
    assert reading.dropped == (DroppedRow("key 2", "its algorithm is neither HOTP nor TOTP"),)


def test_a_seed_that_is_too_short_is_skipped() -> None:
    """The seed in figure 2 has four octets, and RFC 4226 requires sixteen."""
    with pytest.raises(IntegrityFault, match="key 1: its seed has 4 bytes"):
        figure(2)


def test_a_container_for_a_certificate_is_refused_first() -> None:
    """The keys of figure 8 are encrypted to an RSA key. The error comes before any prompt."""
    with pytest.raises(UsageFault, match="encrypted to a certificate"):
        figure(8)


def test_a_signature_is_reported_as_not_verified() -> None:
    """Figure 9 has a signature."""
    assert "signed by CN=Example.com,C=US; the signature was not checked" in figure(9).notes


def test_keys_are_imported_while_they_are_valid() -> None:
    """Two keys of figure 10 had expired at the time of the test."""
    (reading,) = figure(10).readings
    assert [key.token.serial for key in reading.keys] == ["654321", "123456"]
    assert [each.reason for each in reading.dropped] == ["it expired on 2006-03-31", "it expired on 2006-04-30"]


@given(
    st.lists(st.tuples(st.binary(min_size=10, max_size=64), st.sampled_from(["totp", "hotp"])), min_size=1, max_size=5)
)
@settings(max_examples=settings().max_examples // 4)
def test_pskctool_reads_the_same_seeds(rows: list[tuple[bytes, str]]) -> None:
    """Debian's libpskc shares no code with python-pskc."""
    made = [Made(f"S{at}", octets, factor=factor) for at, (octets, factor) in enumerate(rows)]
    content = boxes.pskc(made, suite=False)
    said = subprocess.run(
        [judge("pskctool"), "--info", "--verbose", "/dev/stdin"], input=content, capture_output=True, check=True
    ).stdout.decode()
    theirs = {
        serial: base64.b64decode(secret)
        for serial, secret in re.findall(r"SerialNo: (\S+).*?Key Secret \(base64\): (\S+)", said, re.DOTALL)
    }
    ours = {key.token.serial: key.seed for key in boxes.keys(content)}
    assert {serial: Seed(octets) for serial, octets in theirs.items()} == ours


@pytest.mark.parametrize("number", [3, 5, 9, 10])
def test_pskctool_reads_the_same_seeds_in_the_figures(number: int) -> None:
    said = subprocess.run(
        [judge("pskctool"), "--info", "--verbose", FIGURES / f"figure{number}.xml"], capture_output=True, check=True
    ).stdout.decode()
    theirs = re.findall(r"Key Secret \(base64\): (\S+)", said)
    (reading,) = figure(number).readings
    assert {Seed(base64.b64decode(each)).reveal() for each in theirs} >= {key.seed.reveal() for key in reading.keys}


@pytest.mark.filterwarnings("ignore:.*has been moved to cryptography.hazmat.decrepit")  # python-pskc writes with them
@pytest.mark.parametrize(
    "algorithm",
    ["aes128-cbc", "aes192-cbc", "aes256-cbc", "tripledes-cbc", "kw-aes128", "kw-aes256", "camellia128-cbc"],
)
def test_each_cipher_of_a_passphrase_is_decrypted(algorithm: str) -> None:
    """Tested: the ciphers and key wraps of XML Encryption that python-pskc supports."""
    made = [Made("T1"), Made("T2")]
    found = boxes.keys(boxes.pskc(made, how="passphrase", algorithm=algorithm))
    assert all(boxes.matches(key, one) for key, one in zip(found, made, strict=True))


@pytest.mark.parametrize("how", ["passphrase", "pre-shared key"])
def test_a_wrong_secret_does_not_open(how: str) -> None:
    content = boxes.pskc([Made("T1"), Made("T2")], how=how)
    with pytest.raises((UsageFault, IntegrityFault), match=r"cannot be decrypted|a MAC of this container"):
        files.read_seed_file(content, lambda what: Secret("wrong" if what == "passphrase" else "ff" * 16), now=THEN)


def test_a_pre_shared_key_is_hex() -> None:
    with pytest.raises(UsageFault, match="the pre-shared key is not hex"):
        files.read_seed_file(boxes.pskc([Made("T1")], how="pre-shared key"), lambda _: Secret("qwerty"), now=THEN)


def changed(content: bytes, pattern: bytes, to: bytes) -> bytes:
    new = re.sub(pattern, to, content, count=1, flags=re.DOTALL)
    assert new != content
    return new


def test_a_wrong_mac_is_refused() -> None:
    content = changed(boxes.pskc([Made("T1")], how="passphrase"), rb"<pskc:ValueMAC>....", b"<pskc:ValueMAC>AAAA")
    with pytest.raises(IntegrityFault, match="a MAC of this container is wrong"):
        boxes.read(content)


def test_a_missing_mac_that_was_declared_is_refused() -> None:
    """python-pskc alone reads such a file without an error."""
    content = changed(boxes.pskc([Made("T1")], how="passphrase"), rb"<pskc:ValueMAC>.*?</pskc:ValueMAC>", b"")
    with pytest.raises(IntegrityFault, match="the secret of key 1"):
        boxes.read(content)


def test_an_empty_mac_is_a_missing_one() -> None:
    content = changed(
        boxes.pskc([Made("T1")], how="passphrase"), rb"<pskc:ValueMAC>.*?</pskc:ValueMAC>", b"<pskc:ValueMAC/>"
    )
    with pytest.raises(IntegrityFault, match="the secret of key 1"):
        boxes.read(content)


def test_a_plain_seed_among_authenticated_seeds_is_refused() -> None:
    """Anyone who can change the file could insert another seed."""
    content = changed(
        boxes.pskc([Made("T1"), Made("T2")], how="passphrase"),
        rb"<pskc:Secret>.*?</pskc:Secret>",
        b"<pskc:Secret><pskc:PlainValue>MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=</pskc:PlainValue></pskc:Secret>",
    )
    with pytest.raises(IntegrityFault, match="the secret of key 1"):
        boxes.read(content)


def test_a_cipher_without_a_mac_is_refused() -> None:
    """RFC 6030, 6.1.1: a cipher without integrity requires a MAC, because a flipped bit would give another seed."""
    content = changed(boxes.pskc([Made("T1")], how="passphrase"), rb"<pskc:MACMethod.*?</pskc:MACMethod>", b"")
    content = changed(content, rb"<pskc:ValueMAC>.*?</pskc:ValueMAC>", b"")
    with pytest.raises(IntegrityFault, match="the secret of key 1"):
        boxes.read(content)


def test_letters_outside_base64_are_refused() -> None:
    """Python's decoder skips such letters, which would give another seed."""
    content = changed(boxes.pskc([Made("T1")]), rb"<pskc:PlainValue>..", b"<pskc:PlainValue>!!")
    with pytest.raises(IntegrityFault, match="key 1 of this PSKC container has a PlainValue that is not base64"):
        boxes.read(content)


def test_a_long_value_is_checked_in_one_pass() -> None:
    """A value has two megabytes of spaces and then an invalid letter.

    A search that restarts at each space would never finish.
    """
    content = changed(boxes.pskc([Made("T1")]), rb"<pskc:PlainValue>", b"<pskc:PlainValue>" + b" " * 2_000_000 + b"!")
    with pytest.raises(IntegrityFault, match="is not base64"):
        boxes.read(content)


SECRET = rb"<pskc:Secret>(.*?)</pskc:Secret>"
VALUE = rb"<pskc:PlainValue>(.*?)</pskc:PlainValue>"
OTHER = b"<pskc:PlainValue>AAAAAAAAAAAAAAAAAAAAAAAAAAA=</pskc:PlainValue>"
INTERVAL = b"<pskc:TimeInterval><pskc:PlainValue>60</pskc:PlainValue></pskc:TimeInterval>"
STEP = rb"<pskc:TimeInterval>.*?</pskc:TimeInterval>"


@pytest.mark.parametrize(
    ("pattern", "to", "what"),
    [
        (VALUE, rb"<pskc:PlainValue>\1<pskc:x/></pskc:PlainValue>", "an element inside its PlainValue"),
        (VALUE, b"<pskc:PlainValue>MTIzNDU2Nzg5MDEy<x>MzQ1</x>Njc4OTA=</pskc:PlainValue>", "an element inside its"),
        (rb"<pskc:SerialNo>", b"<pskc:SerialNo><a/>", "an element inside its SerialNo"),
        (SECRET, rb"<pskc:Secret>\1</pskc:Secret><pskc:Secret>" + OTHER + b"</pskc:Secret>", "more than one Secret"),
        (SECRET, rb"<pskc:Secret>\1" + OTHER + b"</pskc:Secret>", "more than one PlainValue"),
        (SECRET, rb"<pskc:Secret>\1<y:PlainValue xmlns:y='z'>AAAA</y:PlainValue></pskc:Secret>", "more than one Plain"),
        (SECRET, rb"<pskc:Secret>\1<Value>AAAA</Value></pskc:Secret>", "more than one PlainValue"),
        (SECRET, rb"<pskc:Secret>\1<pskc:EncryptedValue/></pskc:Secret>", "more than one PlainValue"),
        (STEP, INTERVAL + INTERVAL, "more than one TimeInterval"),
        (STEP, b"<pskc:TimeInterval>60</pskc:TimeInterval>", "a TimeInterval without a value"),
        (STEP, b"<pskc:TimeInterval><pskc:PlainValue/></pskc:TimeInterval>", "a TimeInterval without a value"),
        (rb"<pskc:Data>", b"<pskc:Data><pskc:Counter/>", "a Counter without a value"),
        (rb"</pskc:Data>", b"</pskc:Data><pskc:Data>" + INTERVAL + b"</pskc:Data>", "more than one Data"),
        (rb"</pskc:Data>", b"</pskc:Data><pskc:Data Name='SECRET'>" + OTHER + b"</pskc:Data>", "more than one Secret"),
        (rb"(<pskc:ResponseFormat[^>]*>)", rb"\1\1", "more than one ResponseFormat"),
        (rb"<pskc:Data>", b"<Usage><ResponseFormat Length='8'/></Usage><pskc:Data>", "more than one ResponseFormat"),
        (rb"<pskc:SerialNo>", b"<pskc:SerialNo>T9</pskc:SerialNo><pskc:SerialNo>", "more than one SerialNo"),
        (rb"<pskc:DeviceInfo>", b"<DeviceId><SerialNo>T9</SerialNo></DeviceId><pskc:DeviceInfo>", "one DeviceInfo"),
    ],
)  # fmt: skip
def test_an_ambiguous_container_is_refused(pattern: bytes, to: bytes, what: str) -> None:
    """python-pskc reads the first of two equal elements, and the text of a value only up to the first element in it."""
    content = changed(boxes.pskc([Made("T1"), Made("T2")]), pattern, to)
    with pytest.raises(IntegrityFault, match=f"key 1 of this PSKC container has .*{what}|the header of .*{what}"):
        boxes.read(content)


@pytest.mark.parametrize("name", ["Salt", "IterationCount", "MACKey", "EncryptionKey"])
def test_a_container_with_two_ways_to_open_it_is_refused(name: str) -> None:
    content = boxes.pskc([Made("T1")], how="passphrase")
    twice = changed(content, rb"<([\w]+:)?%s.*?</([\w]+:)?%s>" % ((name.encode(),) * 2), rb"\g<0>\g<0>")
    with pytest.raises(IntegrityFault, match=f"the header of this PSKC container has more than one {name}"):
        boxes.read(twice)


def test_a_draft_that_names_its_data_is_read() -> None:
    """Before RFC 6030, a <Data> element had a name instead of a child element."""
    content = changed(boxes.pskc([Made("T1", SEED.reveal(), period=60)]), rb"<pskc:Data>.*?</pskc:Data>",
        b"<Data Name='SECRET'><Value>MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=</Value></Data>"
        b"<Data Name='TIME_INTERVAL'><Value>60</Value></Data>")  # fmt: skip
    (key,) = boxes.keys(content)
    assert (key.seed, key.token.period) == (SEED, 60)


@pytest.mark.parametrize(("pattern", "to", "reason"), [
    (rb"<pkcs5:IterationCount>\d+|<IterationCount>\d+", b"<IterationCount>999999999",
     "requires 999999999 rounds of PBKDF2, but the limit is 5000000"),
    (rb"<pkcs5:KeyLength>\d+|<KeyLength>\d+", b"<KeyLength>999999999",
     "requires 999999999 octets from PBKDF2, but the limit is 64"),
])  # fmt: skip
def test_a_derivation_that_would_take_too_long_is_refused(pattern: bytes, to: bytes, reason: str) -> None:
    content = boxes.pskc([Made("T1")], how="passphrase")
    prefix = re.search(pattern, content)
    assert prefix
    name = prefix[0].partition(b">")[0]
    content = content.replace(prefix[0], name + b">" + to.partition(b">")[2])
    with pytest.raises(IntegrityFault, match=reason):
        boxes.read(content)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'Encoding="DECIMAL"', b'Encoding="HEXADECIMAL"', "its codes are not plain digits"),
        (b'Encoding="DECIMAL"', b'CheckDigits="true" Encoding="DECIMAL"', "its codes are not plain digits"),
        (b"HMAC-SHA1", b"HMAC-MD5", "its hash is not one of sha1, sha256, sha512"),
        (b"</pskc:Data>", b"</pskc:Data><pskc:Policy><pskc:KeyUsage>CR</pskc:KeyUsage></pskc:Policy>",
         "its policy does not allow one-time passwords"),
        (b"</pskc:Data>", b"</pskc:Data><pskc:Policy><pskc:Odd/></pskc:Policy>",
         "its policy has unknown elements, so this key must not be used (RFC 6030, 5)"),
        (b"</pskc:Model>", b"</pskc:Model><pskc:ExpiryDate>2020-01-01T00:00:00Z</pskc:ExpiryDate>",
         "it expired on 2020-01-01"),
        (b"<pskc:Secret>", b"<pskc:Other>", "it has no secret"),
    ],
)  # fmt: skip
def test_a_skipped_key_has_its_reason(old: bytes, new: bytes, reason: str) -> None:
    """The other key of the container is imported."""
    content = boxes.pskc([Made("T1"), Made("T2")]).replace(old, new, 1)
    content = content.replace(b"</pskc:Secret>", b"</pskc:Other>", 1) if b"Other" in new else content
    (reading,) = boxes.read(content).readings
    assert reading.dropped == (DroppedRow("key 1", reason),)
    assert [key.token.serial for key in reading.keys] == ["T2"]


def test_two_keys_of_one_device_keep_their_ids() -> None:
    """A token with two buttons has one serial."""
    content = boxes.pskc([Made("T1")])
    twice = changed(
        content,
        rb"(<pskc:Key .*?</pskc:Key>)",
        rb"\1<pskc:Key Id='b' Algorithm='urn:ietf:params:xml:ns:keyprov:pskc:hotp'>"
        rb"<pskc:Data><pskc:Secret><pskc:PlainValue>MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=</pskc:PlainValue></pskc:Secret>"
        rb"</pskc:Data></pskc:Key>",
    )
    assert [key.token.serial for key in boxes.keys(twice)] == ["T1:T1", "T1:b"]


@pytest.mark.parametrize("namespace", [b"urn:ietf:params:xml:ns:keyprov:pskc:1.0", b"http://example.com/odd"])
def test_unusual_namespaces_are_read(namespace: bytes) -> None:
    """Drafts and vendors use their own namespaces."""
    content = boxes.pskc([Made("T1")]).replace(b'urn:ietf:params:xml:ns:keyprov:pskc"', namespace + b'"')
    assert [key.token.serial for key in boxes.keys(content)] == ["T1"]


def test_hex_within_base64_is_offered_to_a_diagnosis() -> None:
    """Some vendors encode the hex digits in base64."""
    octets = bytes(range(20))
    (key,) = boxes.keys(boxes.pskc([Made("T1", octets.hex().encode())]))
    assert key.other == Seed(octets)


def test_a_value_that_is_too_short_is_refused() -> None:
    """The value is shorter than the initialization vector."""
    content = boxes.pskc([Made("T1")], how="passphrase")
    secret = content.index(b"<pskc:Secret>")
    content = content[:secret] + changed(content[secret:], rb"CipherValue>[^<]+<", b"CipherValue>AAAA<")
    with pytest.raises(IntegrityFault, match="cannot be read: ValueError"):
        boxes.read(content)


def test_a_derivation_without_parameters_is_refused() -> None:
    content = changed(boxes.pskc([Made("T1")], how="passphrase"), rb"IterationCount>\d+<", b"IterationCount>0<")
    with pytest.raises(IntegrityFault, match="no key can be derived for this container: Incomplete PBKDF2"):
        boxes.read(content)


@pytest.mark.parametrize("version", [b"2.0", b"1.1"])
def test_another_version_is_refused(version: bytes) -> None:
    with pytest.raises(IntegrityFault, match="Unsupported version"):
        boxes.read(boxes.pskc([Made("T1")]).replace(b'Version="1.0"', b'Version="' + version + b'"'))


@pytest.mark.parametrize("name", ["TimeInterval", "Counter"])
def test_a_seed_in_the_place_of_a_parameter_is_not_quoted(name: str) -> None:
    """The message contains neither the seed's letters nor the number that they would form."""
    octets = b"98765432109876543210"  # as a number, more than eight octets
    made = Made("T1", octets, factor="hotp" if name == "Counter" else "totp")
    seed = base64.b64encode(octets)
    content = changed(boxes.pskc([made]), rb"<pskc:%s>.*?</pskc:%s>" % ((name.encode(),) * 2),
        b"<pskc:%s><pskc:PlainValue>%s</pskc:PlainValue></pskc:%s>" % (name.encode(), seed, name.encode()))  # fmt: skip
    with pytest.raises(
        IntegrityFault, match=r"its time step is neither 30 nor 60 s|its counter is out of range"
    ) as error:
        boxes.read(content)
    for form in (seed.decode(), octets.decode(), str(int.from_bytes(octets))):
        assert form not in str(error.value)


def test_a_counter_and_a_drift_are_read_as_pskc_has_them() -> None:
    """The counter may have eight octets (RFC 4226), and the drift of a slow clock is negative (RFC 6030, 4.3.2)."""
    largest = 2**64 - 1
    made = boxes.pskc([Made("T1", factor="hotp", counter=largest), Made("T2")])
    drift = b"<pskc:Time><pskc:PlainValue>0</pskc:PlainValue></pskc:Time>"
    drift += b"<pskc:TimeDrift><pskc:PlainValue>-7</pskc:PlainValue></pskc:TimeDrift>"
    content = made.replace(b"<pskc:TimeInterval>", drift + b"<pskc:TimeInterval>")
    first, second = boxes.keys(content)
    assert (first.token.counter, second.token.drift) == (largest, -7)
    assert boxes.keys(made)[1].token.drift == 0
    with pytest.raises(IntegrityFault, match="its counter is out of range"):
        boxes.read(boxes.pskc([Made("T1", factor="hotp", counter=largest + 1)]))


HASHES = [
    Made("T1"), Made("T2", digest="sha256", period=60), Made("T3", digest="sha512", digits=8),
    Made("T4", factor="hotp", counter=7), Made("T5", factor="hotp", digest="sha256"),
]  # fmt: skip


def test_the_export_of_privacyidea_is_read() -> None:
    """Its names are in lower case. Each hash is read, also that of an event token."""
    found = boxes.keys(boxes.privacyidea(HASHES))
    assert all(boxes.matches(key, made) for key, made in zip(found, HASHES, strict=True))
    assert [key.token.digest for key in found] == [made.digest for made in HASHES]
    assert [key.token.counter for key in found] == [0, 0, 0, 7, 0]
    assert {key.token.drift for key in found} == {0}


@pytest.mark.parametrize(
    ("drift", "steps"),
    [("0", (0, 0)), ("61", (2, 1)), ("-61.5", (-2, -1)), ("600.0", (20, 10)), ("-14", (0, 0)), ("None", (0, 0))],
)
def test_the_drift_of_privacyidea_is_in_seconds(drift: str, steps: tuple[int, int]) -> None:
    """In RFC 6030 it is in steps."""
    made = [Made("T1"), Made("T2", period=60)]
    assert tuple(key.token.drift for key in boxes.keys(boxes.privacyidea(made, drift=drift))) == steps


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (boxes.privacyidea(HASHES, mac=False), "has a ValueMAC that is not base64"),
        (boxes.privacyidea(HASHES, drift="1e9"), "PlainValue that is not base64|clock drift is out of range"),
        (boxes.privacyidea(HASHES).replace(b"<valuemac>", b"<valuemac>AAAA"), "a MAC of this container is wrong"),
        (boxes.privacyidea(HASHES).replace(b"<suite ", b"<suite></suite><suite "), "has more than one Suite"),
        (boxes.privacyidea(HASHES[:1]).replace(b'"sha1"', b'"md5"'), "its hash is not one of"),
        (boxes.privacyidea(HASHES[:1]).replace(b"\n30<", b"\nNone<"), "its time step is neither"),
    ],
)
def test_an_export_of_privacyidea_that_is_not_safe_to_read_is_refused(content: bytes, reason: str) -> None:
    """The checks are those of other containers. Older versions of privacyIDEA wrote no MAC."""
    with pytest.raises((IntegrityFault, UsageFault), match=reason):
        boxes.read(content)


def test_a_hash_in_an_attribute_is_read_in_every_container() -> None:
    """Otherwise the token would be imported with SHA-1."""
    content = boxes.pskc([Made("T1", digest="sha256")])
    changed = re.sub(rb"<pskc:Suite>.*?</pskc:Suite>", b'<pskc:Suite hashalgo="sha256"/>', content)
    assert changed != content
    assert boxes.keys(changed)[0].token.digest == "sha256"
    with pytest.raises(IntegrityFault, match="its hash is not one of"):
        boxes.read(changed.replace(b'hashalgo="sha256"/>', b'hashalgo="sha256">HMAC-SHA1</pskc:Suite>'))
    agreeing = changed.replace(b'hashalgo="sha256"/>', b'hashalgo="sha256">HMAC-SHA256</pskc:Suite>')
    assert boxes.keys(agreeing)[0].token.digest == "sha256"
