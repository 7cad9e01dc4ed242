"""The virtual MFA device: on a phone, or in a sealed backup alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mfa_kit.cli import options
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.otp import KeyUri
from mfa_kit.enrollment.enroll import BackupAlone
from mfa_kit.enrollment.phone import Phone, Way
from mfa_kit.enrollment.ports import Carrier, Inventory
from mfa_kit.wiring.desk import harden
from mfa_kit.wiring.files import check_new


class PlainPicture:
    """A QR code in a file of its own, which was not there before; only what was written here is removed."""

    def __init__(self, path: Path) -> None:
        self.path, self._written = str(path), False
        if path.exists() or path.is_symlink():
            raise UsageFault(f"{path} exists already", "name a new file, for nothing is written over: --qr-file")
        check_new(path)

    def write(self, uri: KeyUri) -> None:
        from mfa_kit.adapters.files.private_files import write_new
        from mfa_kit.qr_codes import symbol

        write_new(Path(self.path).absolute(), symbol.png(uri))
        self._written = True

    def remove(self) -> None:
        if self._written:
            Path(self.path).unlink(missing_ok=True)
            self._written = False


def virtual(own: Mapping[str, Any], inventory: Inventory) -> Carrier:
    """Return the carrier that `--codes` asks for."""
    if own["codes"] == "generated":
        if own["qr_file"] or own["show_secret"]:
            raise UsageFault(
                "generated codes are for nobody at hand, so no QR code and no seed is shown",
                "leave out --qr-file and --show-secret: mfa-kit backup show opens the backup; or use --codes typed",
            )
        return BackupAlone(inventory.now)
    from mfa_kit.qr_codes import symbol

    harden()
    return Phone(
        inventory.now,
        interaction=options.common().interaction,
        draw=symbol.blocks,
        way=Way(
            typed=1 if own["codes"] == "one" else 2,
            grouped=own["show_secret"],
            picture=PlainPicture(own["qr_file"]) if own["qr_file"] else None,
        ),
    )
