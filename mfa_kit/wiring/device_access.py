"""The checks of `doctor` for access to keys: permissions of device nodes, and the smart card service."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from mfa_kit.account.diagnosis import Diagnosis, Health
from mfa_kit.adapters.udev import rule as udev_rule
from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.text import without_controls
from mfa_kit.posix.system_users import group_name, user_and_groups
from mfa_kit.wiring.settings import command_for_extra

INSTALL = 'sudo "$(command -v mfa-kit)" udev install'
READ_WRITE_OF_GROUP = stat.S_IRGRP | stat.S_IWGRP


def diagnose_device_access() -> Iterator[Diagnosis]:
    """Check whether this user can open keys on USB, and whether the smart card service works. Yield the results."""
    if sys.platform == "darwin":  # pragma: no cover - not verified
        yield _input_monitoring()
    else:
        yield from _nodes()
    yield _readers()


def _nodes() -> Iterator[Diagnosis]:
    from mfa_kit.adapters.fido import hidraw

    rule = udev_rule.find_rule()
    yield _rule(rule)
    nodes = hidraw.device_nodes()
    if not nodes:
        yield Diagnosis("keys on USB", Health.NOTED, "none is plugged in")
    for node in nodes:
        yield _node(node, rule=rule is not None)


def _rule(rule: Path | None) -> Diagnosis:
    """Report whether the udev rule is installed.

    A missing rule is not reported as a fault, because desktop systems have their own rules.
    """
    subject = "udev rule"
    if rule is None:
        return Diagnosis(subject, Health.NOTED, f"{udev_rule.NAME} is not installed", INSTALL)
    if not udev_rule.has_current_text(rule):
        return Diagnosis(subject, Health.NOTED, f"{rule} differs from the rule of this mfa-kit version", INSTALL)
    return Diagnosis(subject, Health.GOOD, str(rule))


def _node(node: str, *, rule: bool) -> Diagnosis:
    subject = "key on USB"
    if os.access(node, os.R_OK | os.W_OK):
        return Diagnosis(subject, Health.GOOD, f"{node} can be opened")
    try:
        status = Path(node).stat()
    except OSError:
        return Diagnosis(
            subject,
            Health.BAD,
            f"a key is connected, but its device node {node} does not exist here",
            f"pass the device to the container: --device {node}",
        )
    group = group_name(status.st_gid)
    finding = f"{node} is a key that you cannot open: group {group}, mode {stat.S_IMODE(status.st_mode):o}"
    if status.st_gid == 0 or status.st_mode & READ_WRITE_OF_GROUP != READ_WRITE_OF_GROUP:
        return Diagnosis(
            subject,
            Health.BAD,
            finding,
            "unplug the key and plug it in again, so that the udev rule applies to it" if rule else INSTALL,
        )
    name, groups = user_and_groups()
    if status.st_gid in groups:
        return Diagnosis(
            subject, Health.BAD, finding, f"sign in again, because you joined the group {group} after you signed in"
        )
    return Diagnosis(
        subject, Health.BAD, finding, f"sudo usermod --append --groups {quote(group)} {quote(name)}; then sign in again"
    )


def _readers() -> Diagnosis:
    """Check the smart card service by asking it for its readers, as each command for OATH keys does."""
    subject = "smart cards"
    try:
        from mfa_kit.adapters.oath import pcsc
    except ImportError:
        return Diagnosis(subject, Health.NOTED, "support is not installed", command_for_extra("oath"))
    try:
        names = [without_controls(name) for name in pcsc.reader_names()]
    except DeviceFault as fault:
        # It is not a fault if the service is stopped, because a computer without readers does not need it. It is a
        # fault if the service runs, but refuses or does not answer.
        return Diagnosis(subject, Health.BAD if pcsc.service_listens() else Health.NOTED, str(fault), fault.hint)
    return Diagnosis(subject, Health.GOOD, ", ".join(names) or "the service works; no reader is plugged in")


def _input_monitoring() -> Diagnosis:  # pragma: no cover - not verified
    """Check the macOS permission Input Monitoring (IOHIDCheckAccess, IOKit/hid/IOHIDLib.h)."""
    import ctypes

    listen, granted = 1, 0
    subject = "keys on USB"
    kit = ctypes.CDLL("/System/Library/Frameworks/IOKit.framework/IOKit")
    if kit.IOHIDCheckAccess(listen) == granted:
        return Diagnosis(
            subject, Health.GOOD, "this terminal has Input Monitoring; this check was never tested on macOS"
        )
    hint = "allow this terminal in Settings, Privacy & Security, Input Monitoring; this check was never tested on macOS"
    return Diagnosis(subject, Health.BAD, "macOS does not let this terminal use keys on USB", hint)
