"""Finds, writes and removes the file with the udev rule for security keys (udev(7))."""

import os
from pathlib import Path

from mfa_kit.core.errors import DeviceFault

NAME = "70-mfa-kit.rules"
# The folders from which udev reads rules (udev(7), "Rules files"). The first is for an administrator's own rules.
FOLDERS = tuple(Path(place) / "udev/rules.d" for place in ("/etc", "/run", "/usr/local/lib", "/usr/lib"))


def find_rule() -> Path | None:
    """Return the path of the installed rule, or None. udev uses the file in the first of FOLDERS that has it."""
    return next((folder / NAME for folder in FOLDERS if (folder / NAME).exists()), None)


def has_current_text(rule: Path) -> bool:
    """Return whether the file of an installed rule has the same content as the rule of this version of mfa-kit."""
    try:
        return rule.read_bytes() == rule_text()
    except OSError:
        return False


def write_rule() -> Path:
    """Write the rule to the first folder, replacing an older version. Return its path. Raise DeviceFault on failure."""
    rule = FOLDERS[0] / NAME
    beside = rule.with_suffix(".partial")  # udev reads only files whose names end in .rules
    try:
        rule.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        with beside.open("xb") as file:
            file.write(rule_text())
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(0o644)
        beside.rename(rule)
    except OSError as error:
        raise DeviceFault(f"{rule} cannot be written: {error.strerror}", "check the folder, and try again") from None
    return rule


def remove_rule() -> bool:
    """Remove the rule from the first folder. Return whether it was there. mfa-kit never writes to the other folders."""
    rule = FOLDERS[0] / NAME
    try:
        rule.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DeviceFault(f"{rule} cannot be removed: {error.strerror}", "check the folder, and try again") from None
    return True


def rule_text() -> bytes:
    """Return the rule of this version of mfa-kit: from the wheel, or from the folder udev/ of a checkout."""
    packaged = Path(__file__).with_name(NAME)
    return (packaged if packaged.exists() else Path(__file__).parents[3] / "udev" / NAME).read_bytes()
