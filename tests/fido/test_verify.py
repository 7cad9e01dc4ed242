"""Tests of `verify fido2` with keys of the lab: which evidence is a proof, which is not, and the output."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fido2 import cbor

from mfa_kit.adapters.fido import links
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.securitykey import UP, UV, KeyBehavior, KeyModel, SimulatedKey, Touch, lab_key
from tests.fido.conftest import LAB_AAGUID, NOW, Bus, Desk, Published, detail, publish, results

OTHER_AAGUID = "6d66616b-6974-0000-0000-000000000002"
U2F = KeyModel(aaguid=None, versions=("U2F_V2",))


def policy(folder: Path, text: str) -> list[str]:
    """Write a policy file and return the option that names it."""
    file = folder / "policy.toml"
    file.write_text(text)
    return ["--require", str(file)]


def test_a_genuine_key_passes_with_exit_0(bus: Bus, key: SimulatedKey, published: Published, desk: Desk) -> None:
    """Every check passes or does not apply."""
    bus.plug(key)
    done, receipt = desk.verify(*published.options)
    assert (done.code, receipt["verdict"], receipt["model"]) == (0, "proof", "mfa-kit lab key")
    assert set(results(receipt).values()) == {"pass", "not applicable"}
    assert (receipt["schema"], receipt["version"]) == ("mfa-kit/verify-fido2", 1)


CHECKS = [
    *("attestation", "genuine", "metadata", "status", "model", "certification", "fips", "firmware", "advisories"),
    *("pin", "user presence", "user verification", "assertion", "counter", "transports", "leaves nothing"),
]


def test_each_check_has_its_name(bus: Bus, key: SimulatedKey, published: Published, desk: Desk) -> None:
    """Programs and policies find a check by its name."""
    bus.plug(key)
    assert list(results(desk.verify(*published.options)[1])) == CHECKS


def test_a_model_without_a_certification_is_said_to_have_none(
    bus: Bus, key: SimulatedKey, maker: AttestationCa, desk: Desk, tmp_path: Path
) -> None:
    """Nothing is required, so the key passes. The receipt names no level that the metadata lacks."""
    bus.plug(key)
    entry = {**maker.entry("m", aaguid=LAB_AAGUID), "statusReports": [{"status": "NOT_FIDO_CERTIFIED"}]}
    _, receipt = desk.verify(*publish(tmp_path, maker, [entry]).options)
    assert detail(receipt, "certification") == "none in the metadata; not required"


def test_the_receipt_names_its_evidence(bus: Bus, key: SimulatedKey, published: Published, desk: Desk) -> None:
    """The receipt has SHA-256 of certificates and roots, number and date of the metadata, and the key's own claims."""
    bus.plug(key, serial="0042")
    _, receipt = desk.verify(*published.options, "--asset", "BOX-7")
    assert receipt["root_sha256"] == receipt["metadata"]["root_sha256"]
    assert len(receipt["certificates_sha256"]) == 1
    assert (receipt["asset"], receipt["serial"], receipt["aaguid"]) == ("BOX-7", "0042", LAB_AAGUID)
    assert (receipt["firmware"], receipt["metadata"]["number"]) == ("5.7.4", 1)


def test_nothing_stays_on_the_key(bus: Bus, key: SimulatedKey, published: Published, desk: Desk) -> None:
    """The credential is not resident, and only one is created."""
    bus.plug(key)
    desk.verify(*published.options)
    assert (key.resident, key.registered) == ([], 1)


def test_a_key_that_keeps_the_credential_is_refused(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk
) -> None:
    """The free space of the key is read before and after."""
    bus.plug(lab_key(maker, behavior=KeyBehavior(keep=True)))
    done, receipt = desk.verify(*published.options)
    assert (done.code, results(receipt)["leaves nothing"]) == (1, "fail")


@pytest.mark.parametrize(
    ("attestation", "check", "reason"),
    [
        ("self", "warn", "self-attestation"),
        ("none", "warn", "no attestation"),
        ("tpm", "not applicable", "no attestation"),
        ("android-key", "not applicable", "no attestation"),
        ("android-safetynet", "not applicable", "no attestation"),
        ("apple", "not applicable", "no attestation"),
        ("unheard-of", "fail", "no attestation"),
    ],
)
def test_a_key_without_a_manufacturer_signature_is_not_genuine(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk, attestation: str, check: str, reason: str
) -> None:
    """The model that the key claims does not matter."""
    bus.plug(lab_key(maker, behavior=KeyBehavior(attestation=attestation)))
    done, receipt = desk.verify(*published.options)
    assert (done.code, receipt["verdict"], receipt["model"]) == (1, "refused", None)
    assert (results(receipt)["attestation"], results(receipt)["genuine"]) == (check, "fail")
    assert reason in detail(receipt, "genuine")


def test_a_u2f_key_is_recognized_by_its_certificate(bus: Bus, maker: AttestationCa, desk: Desk, tmp_path: Path) -> None:
    """CTAP1 has only the features of U2F: a counter and user presence, and no flag for user verification."""
    issued = maker.certificate(None, unit="U2F")
    published = publish(tmp_path, maker, [maker.entry("U2F key", identifiers=[issued.identifier])])
    bus.plug(SimulatedKey(issued, model=U2F))
    done, receipt = desk.verify(*published.options)
    assert (done.code, receipt["model"], receipt["versions"]) == (0, "U2F key", ["U2F_V2"])
    assert done.err.count("touch your key now (30 s)") == 2
    assert results(receipt)["leaves nothing"] == "not applicable"


def test_a_u2f_key_of_another_batch_is_not_genuine(bus: Bus, maker: AttestationCa, desk: Desk, tmp_path: Path) -> None:
    """The root is right, but the metadata does not list the certificate."""
    listed, other = maker.certificate(None), maker.certificate(None)
    published = publish(tmp_path, maker, [maker.entry("U2F key", identifiers=[listed.identifier])])
    bus.plug(SimulatedKey(other, model=U2F))
    done, receipt = desk.verify(*published.options)
    assert (done.code, detail(receipt, "genuine")) == (1, "the metadata lists no model for this U2F certificate")


def test_a_ctap2_key_may_attest_as_u2f(bus: Bus, maker: AttestationCa, desk: Desk, tmp_path: Path) -> None:
    """The format is fido-u2f, with an AAGUID of zeros."""
    issued = maker.certificate(None)
    published = publish(tmp_path, maker, [maker.entry("U2F key", identifiers=[issued.identifier])])
    bus.plug(SimulatedKey(issued, behavior=KeyBehavior(attestation="fido-u2f")))
    done, receipt = desk.verify(*published.options)
    assert (done.code, receipt["attestation"], receipt["aaguid"]) == (0, "fido-u2f", None)


Issue = Callable[[AttestationCa, bytes], SimulatedKey]
OURS = bytes.fromhex(LAB_AAGUID.replace("-", ""))
THEIRS = bytes.fromhex(OTHER_AAGUID.replace("-", ""))


def _below(maker: AttestationCa, *, ca: bool | None) -> SimulatedKey:
    between = maker.intermediate(ca=ca)
    return SimulatedKey(maker.certificate(OURS, issuer=between), chain=[between])


@pytest.mark.parametrize(
    ("issue", "check", "reason"),
    [
        (lambda maker: SimulatedKey(maker.certificate(THEIRS)), "attestation", "AAGUID"),
        (lambda maker: SimulatedKey(maker.certificate(OURS, expired=True)), "genuine", "expired"),
        (lambda maker: SimulatedKey(maker.certificate(OURS, ca=True)), "attestation", "CA=false"),
        (
            lambda maker: SimulatedKey(maker.certificate(OURS, unit="Sales")),
            "attestation",
            "Authenticator Attestation",
        ),
        (
            lambda _: SimulatedKey(AttestationCa(now=NOW).certificate(OURS)),
            "genuine",
            "not issued under a trusted root",
        ),
        (lambda maker: _below(maker, ca=False), "genuine", "not allowed to issue"),
        (lambda maker: SimulatedKey(maker.certificate(OURS), chain=[maker.root]), "", ""),
        (lambda maker: _below(maker, ca=None), "genuine", "not allowed to issue"),
        (lambda maker: _below(maker, ca=True), "", ""),
        (lambda maker: SimulatedKey(maker.certificate(None)), "", ""),
    ],
    ids=[
        "aaguid",
        "expired",
        "ca",
        "unit",
        "other-maker",
        "no-authority",
        "silent-authority",
        "root-sent",
        "intermediate",
        "no-extension",
    ],
)
def test_each_chain_gets_its_verdict(
    bus: Bus,
    maker: AttestationCa,
    published: Published,
    desk: Desk,
    issue: Callable[[AttestationCa], SimulatedKey],
    check: str,
    reason: str,
) -> None:
    """A chain that cannot be verified is reported with the reason. A valid chain is a proof."""
    bus.plug(issue(maker))
    done, receipt = desk.verify(*published.options)
    failed = [name for name, result in results(receipt).items() if result == "fail"]
    assert done.code == (1 if check else 0)
    assert set(failed) == ({check, "genuine"} if check else set())
    assert not check or reason in detail(receipt, check)


def test_a_serial_number_of_0_is_a_warning(bus: Bus, maker: AttestationCa, published: Published, desk: Desk) -> None:
    """Such certificates exist in the field, although RFC 5280 forbids them."""
    bus.plug(SimulatedKey(maker.certificate(OURS, serial=0)))
    done, receipt = desk.verify(*published.options)
    assert (done.code, results(receipt)["attestation"], receipt["warned"]) == (0, "warn", ["attestation"])


def test_a_key_cannot_claim_the_model_of_another_manufacturer(
    bus: Bus, maker: AttestationCa, desk: Desk, tmp_path: Path
) -> None:
    """The key's chain is valid and ends at a listed root certificate, but that is for another model."""
    other = AttestationCa("other", now=NOW)
    entries = [
        maker.entry("ours", aaguid=LAB_AAGUID),
        other.entry("theirs", aaguid=OTHER_AAGUID, roots=[other.root.der]),
    ]
    published = publish(tmp_path, maker, entries)
    bus.plug(SimulatedKey(other.certificate(None), model=KeyModel(aaguid=OURS)))
    done, receipt = desk.verify(*published.options)
    assert (done.code, receipt["model"]) == (1, None)
    assert "ours: its certificate was not issued under a trusted root" in detail(receipt, "genuine")


def test_with_a_root_for_two_models_the_certificate_must_name_one(
    bus: Bus, maker: AttestationCa, desk: Desk, tmp_path: Path
) -> None:
    """WebAuthn Level 3, 8.2.1: otherwise a cheap model could claim to be the certified one."""
    entries = [maker.entry("dear", aaguid=LAB_AAGUID), maker.entry("cheap", aaguid=OTHER_AAGUID)]
    published = publish(tmp_path, maker, entries)
    bus.plug(SimulatedKey(maker.certificate(None)))
    done, receipt = desk.verify(*published.options)
    assert (done.code, detail(receipt, "genuine")) == (1, "dear: its certificate does not name the model")


def test_a_certificate_that_is_itself_listed_is_trusted(
    bus: Bus, maker: AttestationCa, desk: Desk, tmp_path: Path
) -> None:
    """FIDO Metadata Statements allow a listed certificate in place of a root certificate."""
    stranger = AttestationCa("stranger", now=NOW).certificate(OURS)
    published = publish(tmp_path, maker, [maker.entry("pinned", aaguid=LAB_AAGUID, roots=[stranger.der])])
    bus.plug(SimulatedKey(stranger))
    assert desk.verify(*published.options)[0].code == 0


@pytest.mark.parametrize(
    "status",
    [
        "REVOKED",
        "ATTESTATION_KEY_COMPROMISE",
        "USER_KEY_REMOTE_COMPROMISE",
        "USER_KEY_PHYSICAL_COMPROMISE",
        "USER_VERIFICATION_BYPASS",
    ],
)
def test_a_revoked_or_compromised_model_is_refused(
    bus: Bus, key: SimulatedKey, maker: AttestationCa, desk: Desk, tmp_path: Path, status: str
) -> None:
    """A valid chain and earlier certifications do not help."""
    entry = maker.entry("m", aaguid=LAB_AAGUID, statuses=["FIDO_CERTIFIED_L2", status])
    bus.plug(key)
    done, receipt = desk.verify(*publish(tmp_path, maker, [entry]).options)
    assert (done.code, receipt["failed"], detail(receipt, "status")) == (1, ["status"], f"m: {status}")


def test_an_update_that_is_available_is_a_warning(
    bus: Bus, key: SimulatedKey, maker: AttestationCa, desk: Desk, tmp_path: Path
) -> None:
    """An available update is not a failure."""
    entry = maker.entry("m", aaguid=LAB_AAGUID, statuses=["FIDO_CERTIFIED_L1", "UPDATE_AVAILABLE"])
    bus.plug(key)
    done, receipt = desk.verify(*publish(tmp_path, maker, [entry]).options)
    assert (done.code, receipt["warned"]) == (0, ["status"])


def test_stale_metadata_is_a_warning_or_a_failure_by_policy(
    bus: Bus, key: SimulatedKey, maker: AttestationCa, desk: Desk, tmp_path: Path
) -> None:
    """After its nextUpdate, metadata may lack a revocation."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    entries = [maker.entry("m", aaguid=LAB_AAGUID)]
    published = publish(tmp_path, maker, entries, next_update=yesterday)
    bus.plug(key)
    done, receipt = desk.verify(*published.options)
    assert (done.code, receipt["warned"]) == (0, ["metadata"])
    done, receipt = desk.verify(*published.options, *policy(tmp_path, "signed-metadata = true"))
    assert (done.code, receipt["failed"]) == (1, ["metadata"])
    assert f"due on {yesterday}" in detail(receipt, "metadata")


def test_without_metadata_no_key_is_genuine(
    bus: Bus, key: SimulatedKey, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check fails, and the message says where to get metadata. The other checks are still made."""
    monkeypatch.setattr("mfa_kit.adapters.metadata.index.find_spec", lambda _: None)
    bus.plug(key)
    done, receipt = desk.verify()
    assert (done.code, receipt["failed"], receipt["metadata"]) == (1, ["genuine"], None)
    assert "https://mds3.fidoalliance.org/" in detail(receipt, "genuine")


@pytest.mark.parametrize(
    ("hide", "check"), [(UP, "user presence"), (UV, "user verification")], ids=["presence", "verification"]
)
def test_the_flags_of_the_response_are_checked(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk, hide: int, check: str
) -> None:
    """A response without the flag is refused, although the key got the PIN and the touch."""
    key = lab_key(maker, behavior=KeyBehavior(hide=hide, always_uv=hide == UV), model=KeyModel(fingerprint=True))
    bus.plug(key)
    done, receipt = desk.verify(*published.options)
    assert (done.code, results(receipt)[check]) == (1, "fail")


def test_a_fingerprint_verifies_without_a_pin(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk, tmp_path: Path
) -> None:
    """A key with its own sensor does not require a PIN."""
    bus.plug(lab_key(maker, model=KeyModel(fingerprint=True), pin="123456"))
    done, receipt = desk.verify(*published.options, *policy(tmp_path, "user-verification = true"))
    assert (done.code, results(receipt)["user verification"]) == (0, "pass")


@pytest.mark.parametrize(("count", "result"), [(0, "not applicable"), (1, "pass")])
def test_the_signature_counter_grows_or_is_zero(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk, count: int, result: str
) -> None:
    """WebAuthn, 6.1.1: a counter of zero means that the key does not count."""
    bus.plug(lab_key(maker, behavior=KeyBehavior(count=count)))
    done, receipt = desk.verify(*published.options)
    assert (done.code, results(receipt)["counter"]) == (0, result)


def test_a_counter_that_does_not_grow_is_refused(bus: Bus, key: SimulatedKey, published: Published, desk: Desk) -> None:
    """The key may be a copy of another one."""
    key.counter = 7
    key.behavior = replace(key.behavior, count=0)
    bus.plug(key)
    done, receipt = desk.verify(*published.options)
    assert (done.code, receipt["failed"], detail(receipt, "counter")) == (1, ["counter"], "7, then 7: it must increase")


def advised(
    maker: AttestationCa, folder: Path, name: str, firmware: tuple[int, int, int]
) -> tuple[SimulatedKey, Published]:
    """Make a key of this model and firmware, and publish the model's metadata."""
    model = KeyModel(firmware=firmware)
    return lab_key(maker, model=model), publish(folder, maker, [maker.entry(name, aaguid=LAB_AAGUID)])


@pytest.mark.parametrize(
    ("model", "firmware", "result", "advisory"),
    [
        ("YubiKey 5 Series with NFC", (5, 4, 3), "warn", "ysa-2024-03"),
        ("YubiKey 5 Series with NFC", (5, 7, 0), "warn", "ysa-2025-02"),
        ("YubiKey 5 Series with NFC", (5, 7, 4), "pass", None),
        ("YubiKey 5 FIPS Series", (5, 4, 2), "warn", "ysa-2024-03"),
        ("Security Key NFC by Yubico", (5, 4, 3), "warn", "ysa-2024-03"),
        ("YubiKey Bio Series - FIDO Edition", (5, 7, 1), "warn", "ysa-2024-03"),
        ("YubiKey Bio Series - FIDO Edition", (5, 7, 2), "warn", "ysa-2025-02"),
        ("YubiKey FIPS Series", (4, 4, 2), "fail", "ysa-2019-02"),
        ("YubiKey FIPS Series", (4, 4, 4), "fail", "ysa-2019-02"),
        ("YubiKey FIPS Series", (4, 4, 5), "pass", None),
        ("YK4 Series Key by Yubico", (4, 3, 4), "warn", "ysa-2017-01"),
        ("YK4 Series Key by Yubico", (4, 3, 5), "pass", None),
        ("Another maker's key", (4, 4, 2), "pass", None),
    ],
)
def test_firmware_with_an_advisory_is_reported_with_its_source(
    bus: Bus,
    maker: AttestationCa,
    desk: Desk,
    tmp_path: Path,
    model: str,
    firmware: tuple[int, int, int],
    result: str,
    advisory: str | None,
) -> None:
    """All versions before the fixed version are affected."""
    key, published = advised(maker, tmp_path, model, firmware)
    bus.plug(key)
    done, receipt = desk.verify(*published.options)
    [check] = [each for each in receipt["checks"] if each["check"] == "advisories"]
    assert (check["result"], done.code) == (result, 1 if result == "fail" else 0)
    assert (check["source"] or "").endswith(f"/{advisory}/" if advisory else "")


@pytest.mark.parametrize(
    ("version", "said", "advisories", "firmware"),
    [
        (0, "unknown", "warn", "fail"),
        (2, "unknown", "warn", "fail"),
        (50100, "5.1.0 or later", "warn", "fail"),
        (0x050704, "5.7.4 or later", "pass", "pass"),
    ],
)
def test_unreported_firmware_is_at_least_that_of_the_metadata(
    bus: Bus,
    maker: AttestationCa,
    desk: Desk,
    tmp_path: Path,
    version: int,
    said: str,
    advisories: str,
    firmware: str,
) -> None:
    """Versions are three octets or five decimal digits.

    An unknown version is a warning, and a failure if the policy requires a version.
    """
    published = publish(tmp_path, maker, [maker.entry("YubiKey 5 Series", aaguid=LAB_AAGUID, version=version)])
    bus.plug(SimulatedKey(maker.certificate(OURS), model=KeyModel(firmware=(0, 0, 0))))
    _, receipt = desk.verify(*published.options, *policy(tmp_path, 'firmware = "5.7.0"'))
    found = results(receipt)
    assert (found["advisories"], found["firmware"]) == (advisories, firmware)
    assert said in detail(receipt, "firmware")
    _, receipt = desk.verify(*published.options, *policy(tmp_path, "no-advisories = true"))
    assert results(receipt)["advisories"] == ("fail" if advisories == "warn" else "pass")


def test_a_policy_may_refuse_firmware_with_an_advisory(
    bus: Bus, maker: AttestationCa, desk: Desk, tmp_path: Path
) -> None:
    """With `no-advisories = true` the warning is a failure."""
    key, published = advised(maker, tmp_path, "YubiKey 5 Series", (5, 4, 3))
    bus.plug(key)
    done, receipt = desk.verify(*published.options, *policy(tmp_path, "no-advisories = true"))
    assert (done.code, receipt["failed"]) == (1, ["advisories"])


def test_the_firmware_version_in_the_certificate_counts_first(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk, tmp_path: Path
) -> None:
    """A firmware version in a certificate takes precedence over getInfo."""
    bus.plug(SimulatedKey(maker.certificate(OURS, firmware=(5, 4, 3)), model=KeyModel(firmware=(5, 7, 4))))
    done, receipt = desk.verify(*published.options, *policy(tmp_path, 'firmware = "5.7.0"'))
    assert (done.code, receipt["failed"], receipt["firmware"]) == (1, ["firmware"], "5.4.3")


@pytest.mark.parametrize(
    ("text", "failed"),
    [
        (f'models = ["{LAB_AAGUID}"]', []),
        (f'models = ["{OTHER_AAGUID}"]', ["model"]),
        ('certification = "L1"', []),
        ('certification = "L2"', ["certification"]),
        ("fips = 1", ["fips"]),
        ('firmware = "5.7.4"', []),
        ('firmware = "5.7.5"', ["firmware"]),
        ("pin = true", ["pin"]),
        ('transports = ["usb"]', []),
        ('transports = ["usb", "nfc"]', ["transports"]),
        ("signed-metadata = true", []),
        ("", []),
    ],
)
def test_each_setting_of_a_policy_has_its_check(
    bus: Bus, key: SimulatedKey, published: Published, desk: Desk, tmp_path: Path, text: str, failed: list[str]
) -> None:
    """The check with the name of the setting fails, and no other check."""
    bus.plug(key)
    done, receipt = desk.verify(*published.options, *policy(tmp_path, text))
    assert (receipt["failed"], done.code) == (failed, 1 if failed else 0)


def test_a_claimed_model_is_not_a_listed_model(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk, tmp_path: Path
) -> None:
    """The list is compared with the model that the root certifies, never with the AAGUID alone."""
    bus.plug(lab_key(maker, behavior=KeyBehavior(attestation="self")))
    _, receipt = desk.verify(*published.options, *policy(tmp_path, f'models = ["{LAB_AAGUID}"]'))
    assert receipt["failed"] == ["genuine", "model"]


def test_the_fips_level_is_read_from_the_metadata(
    bus: Bus, key: SimulatedKey, maker: AttestationCa, desk: Desk, tmp_path: Path
) -> None:
    """The policy requires level 2, and the metadata has level 2."""
    entry = maker.entry("m", aaguid=LAB_AAGUID, statuses=["FIPS140_CERTIFIED_L2"])
    bus.plug(key)
    published = publish(tmp_path, maker, [entry])
    assert desk.verify(*published.options, *policy(tmp_path, "fips = 2"))[0].code == 0
    assert desk.verify(*published.options, *policy(tmp_path, "fips = 3"))[0].code == 1


@pytest.mark.usefixtures("bus")
def test_no_key_is_exit_3_with_a_hint(desk: Desk) -> None:
    """No key is plugged in, or none at the requested place."""
    done = desk.run("verify", "fido2")
    assert (done.code, done.out) == (3, "")
    assert "there is no security key" in done.err
    assert "there is no FIDO key /dev/hidraw9" in desk.run("verify", "fido2", "--key", "/dev/hidraw9").err


def test_with_two_keys_one_must_be_named(
    bus: Bus, maker: AttestationCa, key: SimulatedKey, published: Published, desk: Desk
) -> None:
    """A key is named by its place, as in `key list`. Without a name, no key is used."""
    other = lab_key(maker)
    bus.plug(key)
    bus.plug(other)
    assert "there are 2 keys: /dev/hidraw0, /dev/hidraw1" in desk.run("verify", "fido2", *published.options).err
    assert (key.registered, other.registered) == (0, 0)
    assert desk.verify(*published.options, "--key", "/dev/hidraw1")[0].code == 0
    assert (key.registered, other.registered) == (0, 1)


def test_a_table_and_csv_say_the_same_as_json(bus: Bus, key: SimulatedKey, published: Published, desk: Desk) -> None:
    """A table has one line for each check, and CSV has one line for each key."""
    bus.plug(key)
    table = desk.run("verify", "fido2", *published.options).out
    assert "genuine            pass            mfa-kit lab key" in table
    assert "verdict   proof" in table
    [row] = csv.DictReader(io.StringIO(desk.run("verify", "fido2", *published.options, "--output", "csv").out))
    assert (row["verdict"], row["aaguid"]) == ("proof", LAB_AAGUID)


def test_text_of_a_key_cannot_control_the_terminal(bus: Bus, maker: AttestationCa, desk: Desk) -> None:
    """Control and bidi characters are removed, and text is cut at 64 characters."""
    bus.plug(lab_key(maker, model=KeyModel(product="evil\x1b[2J\u202eyek" + "x" * 100)))
    listed = desk.run("key", "list").out
    assert "\x1b" not in listed
    assert "\u202e" not in listed
    assert "evil[2Jyekx" in listed
    assert "x" * 60 not in listed


def test_json_is_one_document(bus: Bus, key: SimulatedKey, desk: Desk) -> None:
    """The document has a schema and a version."""
    bus.plug(key)
    listed = json.loads(desk.run("key", "list", "--output", "json").out)
    assert (listed["schema"], listed["rows"][0]["fido_aaguid"]) == ("mfa-kit/key-list", LAB_AAGUID)


def test_a_faulty_key_in_the_list_does_not_hide_the_others(
    bus: Bus, key: SimulatedKey, maker: AttestationCa, desk: Desk
) -> None:
    """The fault is reported."""
    bus.plug(lab_key(maker), tamper=lambda number, packet: packet if number < 2 else None)
    bus.plug(key)
    done = desk.run("key", "list", "--output", "json")
    assert [row["where"] for row in json.loads(done.out)["rows"]] == [["/dev/hidraw1"]]
    assert "/dev/hidraw0: the key was removed" in done.err
    assert links.attached_names() == ["/dev/hidraw0", "/dev/hidraw1"]


def test_a_key_with_ctap2_only_is_recognized(bus: Bus, maker: AttestationCa, published: Published, desk: Desk) -> None:
    """The key reports that it does not accept U2F messages."""
    bus.plug(lab_key(maker, model=KeyModel(versions=("FIDO_2_1",))))
    done, receipt = desk.verify(*published.options)
    assert (done.code, receipt["versions"]) == (0, ["FIDO_2_1"])


def test_u2f_without_a_getinfo_entry_is_found(bus: Bus, key: SimulatedKey, desk: Desk) -> None:
    """A U2F message is sent to the key, because getInfo may omit U2F."""
    real = key.cbor

    def silent(request: bytes, touch: Touch) -> bytes:
        answer = real(request, touch)
        if request[0] != 4:
            return answer
        return b"\0" + cbor.encode({**cbor.decode(answer[1:]), 1: ["FIDO_2_0"]})  # type: ignore[dict-item]

    key.cbor = silent  # type: ignore[method-assign]
    bus.plug(key)
    [row] = json.loads(desk.run("key", "list", "--output", "json").out)["rows"]
    assert row["fido_versions"] == ["FIDO_2_0", "U2F_V2"]


def test_a_serial_selects_a_key_if_it_is_unique(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk
) -> None:
    """`--key` accepts a serial or a place."""
    for serial in ("1", "2", "2"):
        bus.plug(lab_key(maker), serial=serial)
    done, receipt = desk.verify(*published.options, "--key", "1")
    assert (done.code, receipt["place"]) == (0, "/dev/hidraw0")
    assert "there are 2 keys" in desk.run("verify", "fido2", "--key", "2", *published.options).err
