"""The table of published facts about firmware, for OATH and FIDO."""

import pytest

from mfa_kit.core.firmware import Version, advisories_on, oath_credentials
from mfa_kit.wiring.files import read_advisories


@pytest.mark.parametrize(
    ("model", "version", "names"),
    [
        ("YubiKey 5 NFC", (5, 4, 0), ["YSA-2024-03"]),
        ("YubiKey 5 NFC", (5, 4, 3), ["YSA-2024-03", "YSA-2025-02"]),
        ("YubiKey 5 NFC", (5, 7, 0), ["YSA-2025-02"]),
        ("YubiKey 5 NFC", (5, 7, 3), ["YSA-2025-02"]),
        ("YubiKey 5 NFC", (5, 7, 4), []),
        ("YubiKey Bio - FIDO Edition", (5, 7, 1), ["YSA-2024-03", "YSA-2025-02"]),
        ("YubiKey Bio - FIDO Edition", (5, 7, 2), ["YSA-2025-02"]),
        ("Security Key NFC by Yubico", (5, 4, 3), ["YSA-2024-03", "YSA-2025-02"]),
        ("Yubico YubiKey OTP+FIDO+CCID 00 00", (5, 4, 3), ["YSA-2024-03", "YSA-2025-02"]),
        ("Yubico YubiKey OTP+FIDO+CCID 00 00", (4, 3, 7), []),
        ("Yubico Yubikey 4 OTP+U2F+CCID 00 00", (4, 3, 1), ["YSA-2017-01"]),
        ("Security Key by Yubico", (5, 0, 0), ["YSA-2024-03"]),
        ("YubiKey 4", (4, 3, 1), ["YSA-2017-01"]),
        ("YubiKey FIPS", (4, 4, 4), ["YSA-2019-02"]),
        ("YubiKey FIPS", (4, 4, 5), []),
        ("Somebody's key", (4, 4, 4), []),
    ],
)
def test_an_advisory_is_about_models_and_versions(model: str, version: tuple[int, int, int], names: list[str]) -> None:
    """Each of Yubico's security advisories affects firmware from one version up to, but not including, another.

    YSA-2025-02, YSA-2024-03, YSA-2019-02 and YSA-2017-01.
    """
    found = advisories_on(model, Version(*version), read_advisories())
    assert [each.name for each in found] == names
    assert all(each.source.endswith(f"/{each.name.lower()}/") for each in found)


@pytest.mark.parametrize(
    ("version", "most"), [((2, 9, 9), None), ((3, 4, 0), 28), ((4, 0, 0), 32), ((5, 6, 9), 32), ((5, 7, 0), 64)]
)
def test_how_many_oath_credentials_a_yubikey_holds(version: tuple[int, ...], most: int | None) -> None:
    """YubiKey Technical Manual, OATH: the number depends on the firmware version."""
    assert oath_credentials(version) == most
