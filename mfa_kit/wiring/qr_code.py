"""QR codes drawn; the library for them is loaded when the first one is."""

from mfa_kit.core.otp import KeyUri, Png, Symbol


def draw(uri: KeyUri) -> Symbol:
    """Return the QR code of a key URI in half blocks, for a terminal."""
    from mfa_kit.qr_codes import symbol

    return symbol.blocks(uri)


def draw_picture(uri: KeyUri) -> Png:
    """Return the QR code of a key URI as a PNG."""
    from mfa_kit.qr_codes import symbol

    return symbol.png(uri)
