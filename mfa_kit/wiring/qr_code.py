"""Draw QR codes. The library for QR codes is loaded when the first code is drawn."""

from mfa_kit.core.otp import KeyUri, Png, Seed, Symbol


def draw(seed: Seed, device: str, account: str) -> Symbol:
    """Return the QR code of a device's secret as text for a terminal, drawn in half-block characters."""
    from mfa_kit.qr_codes.symbol import device_symbol

    return device_symbol(seed, device, account)


def draw_picture(uri: KeyUri) -> Png:
    """Return the QR code of a key URI as a PNG."""
    from mfa_kit.qr_codes import symbol

    return symbol.png(uri)
