"""What is asked of the OATH applet of a key."""

from typing import Protocol

from mfa_kit.core.otp import Seed


class OathApplet(Protocol):
    """An open applet of an OATH key. Each raises DeviceFault. Names are octets, for they need not be UTF-8."""

    def names(self) -> list[bytes]: ...

    def held(self) -> dict[bytes, bool]:
        """Return the names, and whether each wants a touch for its codes."""
        ...

    def put(self, label: str, seed: Seed, *, touch: bool) -> None: ...

    def code(self, label: str, at: float, *, touch: bool) -> str:
        """Return the code of a Unix time, after a touch where it takes one."""
        ...

    def delete(self, label: str) -> None: ...
