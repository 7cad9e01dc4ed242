"""Installs, checks and removes the udev rule for security keys."""

import os
import sys
from pathlib import Path

from mfa_kit.adapters.fido import hidraw
from mfa_kit.adapters.udev import rule as udev_rule
from mfa_kit.adapters.udev import system
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import ShellText, command, suggest
from mfa_kit.core.text import without_controls
from mfa_kit.doctor.diagnosis import RuleState
from mfa_kit.posix.processes import group_members, is_root


def rule_state() -> RuleState:
    """Return the state of the rule. Raise UsageFault if this is not Linux."""
    _require_linux()
    rule = udev_rule.find_rule()
    nodes = {node: system.is_given_to_group(Path(node)) for node in hidraw.device_nodes()}
    return RuleState(
        rule=str(rule or ""),
        current=rule is not None and udev_rule.has_current_text(rule),
        members=group_members(system.GROUP),
        keys=[node for node, is_given in nodes.items() if is_given],
        other_keys=[node for node, is_given in nodes.items() if not is_given],
    )


def install_rule() -> RuleState:
    """Create the group, write the rule and apply it. Return the new state. Raise the errors of `remove_rule`."""
    _require_root("install")
    if group_members(system.GROUP) is None:
        system.create_group()
    udev_rule.write_rule()
    system.reload_rules()
    return rule_state()


def remove_rule() -> bool:
    """Remove the rule, and its group if it has no members. Return whether the rule was there.

    Raise UsageFault if the user is not root or this is not Linux, and DeviceFault if a step fails.
    """
    _require_root("remove")
    removed = udev_rule.remove_rule()
    if removed:
        system.reload_rules()
    if group_members(system.GROUP) == []:
        system.delete_group()
    return removed


def person_at_terminal() -> str:
    """Return the name of the user who called sudo, or "" without sudo."""
    return without_controls(os.environ.get("SUDO_USER", ""))


def _require_linux() -> None:
    if sys.platform != "linux":
        raise UsageFault("udev exists only on Linux", suggest("for other systems, see", "help install/other-systems"))


def _require_root(verb: str) -> None:
    _require_linux()
    if not is_root():
        raise UsageFault(
            "only root can change udev rules",
            # sudo does not search ~/.local/bin, where pipx and uv install programs.
            command(f"sudo {{}} udev {verb}", ShellText('"$(command -v mfa-kit)"')),
        )
