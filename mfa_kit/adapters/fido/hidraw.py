"""Finds the device nodes (/dev/hidraw*) of security keys on USB. Linux only.

The nodes are looked up in sysfs(5), which every user can read.
"""

import os
import struct
from contextlib import suppress
from pathlib import Path

from fido2.hid.base import parse_report_descriptor

SYSFS = Path("/sys/class/hidraw")


def device_nodes() -> list[str]:
    """Return the device nodes of FIDO keys on USB."""
    nodes = []
    for report in sorted(SYSFS.glob("*/device/report_descriptor")):
        node = f"/dev/{report.parts[-3]}"
        try:
            parse_report_descriptor(report.read_bytes())
        except (ValueError, struct.error, OSError):  # not a FIDO key, or a malformed descriptor
            continue
        nodes.append(node)
    return nodes


def barred_nodes() -> list[str]:
    """Return the device nodes of FIDO keys on USB that this user has no permission to open."""
    return [node for node in device_nodes() if not os.access(node, os.R_OK | os.W_OK)]


def address_of_node(node: str) -> tuple[int, int] | None:
    """Return the bus and address (busnum and devnum) of the USB device with this node.

    Return None if the node does not belong to a USB device.
    """
    with suppress(OSError, ValueError):
        for folder in (SYSFS / Path(node).name / "device").resolve(strict=True).parents:
            if (folder / "busnum").exists():
                return int((folder / "busnum").read_text()), int((folder / "devnum").read_text())
    return None


def has_card_interface(node: str) -> bool:
    """Return whether the USB device with this node is a smart card reader too (an interface of class 0B, CCID)."""
    with suppress(OSError):
        folders = (SYSFS / Path(node).name / "device").resolve().parents
        return any(file.read_text().strip() == "0b" for folder in folders for file in folder.glob("*/bInterfaceClass"))
    return False
