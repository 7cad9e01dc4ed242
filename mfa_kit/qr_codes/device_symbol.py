"""The QR code of a device's secret."""

from mfa_kit.core.otp import Seed, Symbol
from mfa_kit.qr_codes import key_uri, symbol


def device_symbol(seed: Seed, device: str, account: str) -> Symbol:
    """Return the QR code of a device's secret as text for a terminal, drawn in half-block characters."""
    return symbol.blocks(key_uri.short_otpauth(seed, device=device, account=account))
