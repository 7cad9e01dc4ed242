"""Verdicts on recorded keys: what advisories say of attested and of claimed facts. And the files of advisories."""

from dataclasses import replace
from pathlib import Path

import pytest

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.firmware import Advisory, Verdict, Version
from mfa_kit.core.models import Device
from mfa_kit.core.recalls import find_recalls, judge_devices, judge_key
from mfa_kit.core.recorded_keys import KeyDevice, KeyFacts, KeysOfDevices, RecordedKey
from mfa_kit.security_keys.attestation import revoked_models
from mfa_kit.security_keys.authenticator import Model, StatusReport
from mfa_kit.wiring.files import LARGEST_ADVISORIES, read_advisories

AFFECTED, PROBABLY, UNKNOWN, NOT_LISTED = Verdict
AAGUID, OTHER = "2fc0579f-8113-47ea-b116-bb5a8db9202a", "d8522d9f-575b-4866-88a9-ba99fa02f35b"
ALL = frozenset({"model", "firmware", "aaguid", "certifications"})
YUBIKEY = KeyFacts(model="YubiKey 5 Series with NFC", firmware="5.4.3", aaguid=AAGUID, attested=ALL)
SOURCE = "https://example.com/advisory"
ENTRY = f'[[advisory]]\nname = "A-1"\nsource = "{SOURCE}"\nwhat = "it is recalled"\n'
GOOD = ENTRY + 'models = ["YubiKey 5*"]\n'


@pytest.mark.parametrize(
    ("model", "firmware", "attested", "verdict", "names"),
    [
        ("YubiKey 5 NFC", "5.4.3", ALL, AFFECTED, ("YSA-2024-03", "YSA-2025-02")),
        ("YubiKey 5 NFC", "5.6.9", ALL, AFFECTED, ("YSA-2024-03", "YSA-2025-02")),
        ("YubiKey 5 NFC", "5.7.0", ALL, AFFECTED, ("YSA-2025-02",)),
        ("YubiKey 5 NFC", "5.7.3", ALL, AFFECTED, ("YSA-2025-02",)),
        ("YubiKey 5 NFC", "5.7.4", ALL, NOT_LISTED, ()),
        ("YubiKey Bio - FIDO Edition", "5.7.1", ALL, AFFECTED, ("YSA-2024-03", "YSA-2025-02")),
        ("YubiKey Bio - FIDO Edition", "5.7.2", ALL, AFFECTED, ("YSA-2025-02",)),
        ("YubiKey FIPS", "4.4.4", ALL, AFFECTED, ("YSA-2019-02",)),
        ("YubiKey FIPS", "4.4.5", ALL, NOT_LISTED, ()),
        ("Somebody's key", None, {"model"}, NOT_LISTED, ()),
        # The model or the firmware is only claimed.
        ("YubiKey 5 NFC", "5.4.3", {"model"}, PROBABLY, ("YSA-2024-03", "YSA-2025-02")),
        ("YubiKey 5 NFC", "5.4.3", {"firmware"}, PROBABLY, ("YSA-2024-03", "YSA-2025-02")),
        ("YubiKey 5 NFC", "5.4.3", (), PROBABLY, ("YSA-2024-03", "YSA-2025-02")),
        # A claim never shows that a key is not affected, and neither does a missing fact.
        ("YubiKey 5 NFC", "5.7.4", {"model"}, UNKNOWN, ()),
        ("YubiKey 5 NFC", None, ALL, UNKNOWN, ()),
        ("YubiKey 5 NFC", "five", ALL, UNKNOWN, ()),
        ("Somebody's key", "5.4.3", (), UNKNOWN, ()),
        (None, "5.4.3", {"firmware"}, UNKNOWN, ()),
        # An unknown model may have advisories on any firmware.
        (None, "9.9.9", {"firmware"}, UNKNOWN, ()),
    ],
)
def test_the_verdict_depends_on_what_is_attested(
    model: str | None, firmware: str | None, attested: frozenset[str], verdict: Verdict, names: tuple[str, ...]
) -> None:
    """Yubico's advisories, for firmware from one version up to, but not including, another."""
    recall = judge_key(KeyFacts(model=model, firmware=firmware, attested=frozenset(attested)), read_advisories())
    assert (recall.verdict, recall.names) == (verdict, names)


@pytest.mark.parametrize(
    ("certifications", "attested", "verdict"),
    [
        (("FIDO_CERTIFIED_L1", "FIPS140_CERTIFIED_L2"), ALL, AFFECTED),
        (("FIDO_CERTIFIED_L1",), ALL, NOT_LISTED),
        ((), ALL, NOT_LISTED),
        (("FIPS140_CERTIFIED_L2",), ALL - {"certifications"}, PROBABLY),
        (("FIDO_CERTIFIED_L1",), ALL - {"certifications"}, UNKNOWN),
        ((), ALL - {"certifications"}, UNKNOWN),
    ],
)
def test_an_advisory_can_be_on_certified_keys_only(
    certifications: tuple[str, ...], attested: frozenset[str], verdict: Verdict
) -> None:
    recalled = Advisory(name="A", source=SOURCE, what="w", models=("yubikey*",), certifications=("fips140*",))
    facts = replace(YUBIKEY, certifications=certifications, attested=attested)
    assert judge_key(facts, [recalled]).verdict is verdict


def test_the_name_or_the_aaguid_names_the_model() -> None:
    by_aaguid = Advisory(name="A", source=SOURCE, what="w", aaguids=(AAGUID,))
    assert judge_key(YUBIKEY, [by_aaguid]).verdict is AFFECTED
    assert judge_key(replace(YUBIKEY, aaguid=AAGUID.upper()), [by_aaguid]).verdict is AFFECTED
    assert judge_key(replace(YUBIKEY, aaguid=OTHER), [by_aaguid]).verdict is NOT_LISTED
    assert judge_key(replace(YUBIKEY, aaguid=None), [by_aaguid]).verdict is UNKNOWN
    either = replace(by_aaguid, models=("other*",))
    assert judge_key(YUBIKEY, [either]).verdict is AFFECTED
    assert judge_key(replace(YUBIKEY, aaguid=OTHER, attested=ALL - {"model"}), [either]).verdict is UNKNOWN


def test_without_advisories_only_an_attested_key_is_not_listed() -> None:
    assert judge_key(YUBIKEY, []).verdict is NOT_LISTED
    assert judge_key(replace(YUBIKEY, attested=frozenset()), []).verdict is UNKNOWN


def test_a_model_of_the_metadata_is_revoked_by_its_aaguid_or_else_by_its_name() -> None:
    """Models with different AAGUIDs may have one name, and a model of U2F has no AAGUID. Statuses have dates."""

    def model(name: str, aaguid: str | None, *statuses: StatusReport) -> Model:
        rest: dict[str, tuple[()]] = dict.fromkeys(("identifiers", "attestation", "transports", "roots"), ())
        return Model(name=name, aaguid=aaguid, version=1, statuses=statuses, **rest)

    bad, later = StatusReport("REVOKED", "2020-01-01"), StatusReport("REVOKED", "2100-01-01")
    models = [model("One", AAGUID, bad), model("One", OTHER, later), model("U2F [key] *", None, bad)]
    revoked = revoked_models(models, 1_795_000_000.0)
    assert [(advisory.name, advisory.aaguids) for advisory in revoked] == [("REVOKED", (AAGUID,)), ("REVOKED", ())]
    assert judge_key(YUBIKEY, revoked).verdict is AFFECTED
    assert judge_key(replace(YUBIKEY, aaguid=OTHER), revoked).verdict is NOT_LISTED
    assert judge_key(replace(YUBIKEY, model="U2F [key] *", aaguid=None), revoked).verdict is AFFECTED
    assert judge_key(replace(YUBIKEY, model="U2F k", aaguid=None), revoked).verdict is UNKNOWN


def test_a_device_in_oath_is_affected_only_by_flaws_of_oath() -> None:
    """The key is affected all the same, and its user needs no other key."""
    fido = KeyDevice(account="1", user="alice", serial="fido")
    oath, reset = replace(fido, serial="oath", card="card-1"), replace(fido, serial="erased", erased=True)
    key = RecordedKey(identity="k", facts=YUBIKEY, seen=1.0, devices=(fido, oath, reset))
    named = replace(key, facts=replace(YUBIKEY, serial="12345678", label="desk 7"))
    fips = replace(key, facts=replace(YUBIKEY, firmware="4.4.4"), devices=(oath,))
    known = read_advisories()
    assert {recall.serial: recall.verdict for recall in judge_devices([key], known, "1")} == {
        "fido": AFFECTED,
        "oath": NOT_LISTED,
    }
    assert [recall.verdict for recall in judge_devices([fips], known, "1")] == [AFFECTED]
    assert not judge_devices([key], known, "2")
    # A snapshot, and so a finding in evidence with pseudonyms, gets nothing that identifies the key.
    assert judge_devices([named], known, "1") == judge_devices([key], known, "1")
    recalled = find_recalls([key, fips], known)
    assert [row.recall.verdict for row in recalled] == [AFFECTED] * 3


def test_keys_that_differ_in_their_certification_are_judged_separately() -> None:
    """A verdict is computed once for each combination of facts, and the certification is one of them."""
    recalled = Advisory(name="A", source=SOURCE, what="w", models=("yubikey*",), certifications=("fips140*",))
    keys = [
        RecordedKey(identity=level, facts=replace(YUBIKEY, certifications=(level,)), seen=1.0, devices=())
        for level in ("FIDO_CERTIFIED_L1", "FIPS140_CERTIFIED_L2")
    ]
    assert {row.key.identity: row.recall.verdict for row in find_recalls(keys, [recalled])} == {
        "FIDO_CERTIFIED_L1": NOT_LISTED,
        "FIPS140_CERTIFIED_L2": AFFECTED,
    }


def test_an_unassigned_device_is_not_a_record_of_a_user() -> None:
    """IAM lists no user for it. The record of a device with its serial is about an earlier device."""
    record = KeyDevice(account="1", user="alice", serial="s", since=2.0)
    keys = KeysOfDevices.of([RecordedKey(identity="k", facts=YUBIKEY, seen=1.0, devices=(record,))])
    assert keys.find("1", Device("s", None, 2.0)) is None
    assert keys.find("1", Device("s", "Alice", 2.0)) is not None


def test_a_key_without_devices_is_listed_once() -> None:
    erased = KeyDevice(account="1", user="alice", serial="s", erased=True)
    key = RecordedKey(identity="k", facts=YUBIKEY, seen=1.0, devices=(erased,))
    [recalled] = find_recalls([key], read_advisories())
    assert (recalled.device, recalled.recall.verdict) == (None, AFFECTED)


def test_each_advisory_in_the_package_quotes_its_source() -> None:
    assert [advisory.name for advisory in read_advisories() if not advisory.quote] == []


def test_a_file_of_advisories_is_read_completely(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    rest = (
        f'aaguids = ["{AAGUID.upper()}"]\ncertifications = ["FIPS*"]\nsince = "1.0.0"\nbefore = "2.0.0"\nunfit = true\n'
    )
    file.write_text("\ufeff" + GOOD + rest + f'oath = "OATH too"\nquote = "q"\nquoted_from = "{SOURCE}/q"\n')
    assert read_advisories(file) == [
        Advisory(
            name="A-1",
            source=SOURCE,
            what="it is recalled",
            models=("yubikey 5*",),
            aaguids=(AAGUID,),
            certifications=("fips*",),
            since=Version(1, 0, 0),
            before=Version(2, 0, 0),
            unfit=True,
            oath="OATH too",
            quote="q",
            quoted_from=f"{SOURCE}/q",
        )
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[advisory", "a.toml is not TOML: "),
        ("", "a.toml is not a list of advisories"),
        ("advisory = []", "a.toml is not a list of advisories"),
        ("advisory = [1]", "a.toml is not a list of advisories"),
        (GOOD + "[other]\n", "a.toml is not a list of advisories"),
        (GOOD + "severity = 1\n", "advisory 1 of {file} has an unknown field 'severity'"),
        (GOOD + GOOD + "since = 5\n", 'since of advisory 2 of {file} is not a version such as "5.7.0"'),
        (GOOD + 'before = "5.7"\n', 'before of advisory 1 of {file} is not a version such as "5.7.0"'),
        (
            GOOD + 'since = "5.7.0"\nbefore = "5.7.0"\n',
            "advisory 1 of {file} affects no version: since is 5.7.0, and before is 5.7.0",
        ),
        (GOOD.replace("source", "quote"), "advisory 1 of {file} has no field 'source'"),
        (GOOD.replace("https", "http"), "source of advisory 1 of {file} is not a URL that begins with https://"),
        (ENTRY, "advisory 1 of {file} names no model"),
        (ENTRY + "models = []\n", "models of advisory 1 of {file} is not a list of patterns"),
        (ENTRY + 'models = ["a", 1]\n', "models of advisory 1 of {file} is not a list of patterns"),
        (ENTRY + 'aaguids = ["yubikey"]\n', "aaguids of advisory 1 of {file} is not a list of AAGUIDs"),
        (GOOD + 'unfit = "yes"\n', "unfit of advisory 1 of {file} is not true or false"),
        (GOOD + 'oath = " "\n', "oath of advisory 1 of {file} is not text"),
        (GOOD + 'quote = ["q"]\n', "quote of advisory 1 of {file} is not text"),
        (ENTRY + 'models = "YubiKey"\n', "models of advisory 1 of {file} is not a list of patterns"),
        ("# " + "x" * LARGEST_ADVISORIES, "a.toml is too large for a file of advisories"),
    ],
)
def test_a_wrong_file_of_advisories_is_refused_with_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(text)
    with pytest.raises(UsageFault) as caught:
        read_advisories(file)
    assert said.format(file=file) in str(caught.value)
    assert "\n" not in str(caught.value).strip().replace("(at line", "")


def test_a_file_of_advisories_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"# \xff")
    for name, why in (("missing", "No such file"), (".", "Is a directory"), ("latin", "is not TOML: ")):
        with pytest.raises(UsageFault, match=why):
            read_advisories(tmp_path / name)
