"""Read by a Python that has this folder on its path: /dev/hidraw is a socket of the test that started it."""  # noqa: INP001 - Python looks for it on its path

import os
import socket
from pathlib import Path

from fido2 import hid
from fido2.hid.base import CtapHidConnection, HidDescriptor

from tests.fido.seam import SocketConnection, descriptor

PORTS = dict(port.split("=") for port in os.environ.get("TEST_HID_PORTS", "").split(":") if port)


def list_descriptors() -> list[HidDescriptor]:
    product = os.environ.get("TEST_HID_PRODUCT", "mfa-kit lab key")
    return [descriptor(node, product) for node, path in PORTS.items() if Path(path).exists()]


def open_connection(of: HidDescriptor) -> CtapHidConnection:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(PORTS[str(of.path)])
    return SocketConnection(sock)


hid.list_descriptors = list_descriptors
hid.open_connection = open_connection
