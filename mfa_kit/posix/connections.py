"""The users at the other ends of connections on the loopback interface, as proc(5) reports them, and who may connect.

Other systems than Linux have no /proc/net/tcp, so the users are not known there.
"""

import os
import socket
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mfa_kit.posix.processes import user_id

if sys.platform == "win32":
    raise ImportError("not on Windows")

# An IPv4 address and a port.
Address = tuple[str, int]
# The user of each established socket, by its own address and the address of the other end, as the kernel writes them.
Owners = Mapping[tuple[str, str], int]

TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
# The state of an established connection. A socket that its process has closed has another state, and then the table
# shows root as its user.
ESTABLISHED = "01"
LOGIN = Path("/proc/self/loginuid")
# The ID in LOGIN of a process that no login started.
NO_LOGIN = 2**32 - 1


def socket_owners() -> Owners | None:
    """Return the users of all established sockets, or None if the kernel does not report them."""
    owners = dict[tuple[str, str], int]()
    for table in TABLES:
        with suppress(OSError):  # without IPv6 there is one table only
            rows = [line.split() for line in table.read_text("ascii").splitlines()[1:]]
            owners.update({(row[1], row[2]): int(row[7]) for row in rows if row[3] == ESTABLISHED})
    return owners or None


def owner_of(owners: Owners, near: Address, far: Address) -> int | None:
    """Return the user whose socket has the address `near` and is connected to `far`, or None without such a socket.

    An IPv6 socket can be connected to an IPv4 address. The kernel lists it with ::ffff: before both addresses.
    """
    plain = (_written(socket.AF_INET, "", near), _written(socket.AF_INET, "", far))
    mapped = (_written(socket.AF_INET6, "::ffff:", near), _written(socket.AF_INET6, "::ffff:", far))
    return owners.get(plain, owners.get(mapped))


def _written(family: socket.AddressFamily, prefix: str, address: Address) -> str:
    """Return an address as the kernel writes it: words in the processor's order of octets, in hex."""
    words = struct.iter_unpack("=I", socket.inet_pton(family, prefix + address[0]))
    return f"{''.join(f'{word:08X}' for (word,) in words)}:{address[1]:04X}"


def users_at_computer() -> set[int]:
    """Return the user of this process, root, and the user who logged in, also if sudo(8) started this process."""
    login = ""
    with suppress(OSError):
        login = LOGIN.read_text("ascii").strip()
    if login in {"", str(NO_LOGIN)}:
        login = os.environ.get("SUDO_UID", "")
    return {user_id(), 0, *([int(login)] if login.isdecimal() else [])}
