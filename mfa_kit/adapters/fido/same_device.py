"""Finds the FIDO key that is the same device as a smart card. A YubiKey, for example, is both.

Devices are compared by their position on the USB bus, because any device can report any name and serial number.
"""

from smartcard import scard

from mfa_kit.adapters.fido import hidraw, links
from mfa_kit.security_keys.authenticator import Link

# PC/SC describes a reader's channel by its type and a number (PC/SC part 3, 3.1.2). For USB, Debian's libccid makes the
# number from the bus and the address.
CHANNEL_USB = 0x20


def find_same_device(reader: str) -> str | None:
    """Return the device node or reader name of the FIDO key that is the same device as the card in this reader.

    Return None if there is no such key, or if several keys match.
    """
    found, _ = links.find_keys(reader)
    if any(each.link is Link.PCSC and each.where == reader for each in found):
        return reader
    here = _address_of_reader(reader)
    places = [each.where for each in found if each.link is Link.HID and hidraw.address_of_node(each.where) == here]
    return places[0] if here and len(places) == 1 else None


def _address_of_reader(reader: str) -> tuple[int, int] | None:
    """Return the bus and address of a USB reader (SCARD_ATTR_CHANNEL_ID).

    Return None if the reader is not on USB, or its driver does not report its bus and address.
    """
    for line in links.ask_readers(lambda: [_channel(reader)]):
        if len(line) >= 4 and line[2] == CHANNEL_USB and not line[3]:  # noqa: PLR2004 - a little-endian DWORD
            return line[1], line[0]
    return None


def _channel(reader: str) -> list[int]:
    status, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    # After a failure, there is no PC/SC context to release.
    if status != scard.SCARD_S_SUCCESS:
        return []
    try:
        status, card, _ = scard.SCardConnect(
            context, reader, scard.SCARD_SHARE_SHARED, scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
        )
        if status != scard.SCARD_S_SUCCESS:
            return []
        _, said = scard.SCardGetAttrib(card, scard.SCARD_ATTR_CHANNEL_ID)
        scard.SCardDisconnect(card, scard.SCARD_LEAVE_CARD)
        return list(said)
    finally:
        scard.SCardReleaseContext(context)
