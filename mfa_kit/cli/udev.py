"""`mfa-kit udev install`, `remove` and `status`: the udev rule for security keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.core.message import Message, command

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.doctor.diagnosis import RuleState
    from mfa_kit.wiring.settings import Settings


@click.command("status", cls=Verb)
def status(*, output: Output) -> int:
    """Show whether the udev rule for security keys is installed, and for which keys it works.

    The exit code is 0 if the rule of this version of mfa-kit is installed, the group mfa-kit exists, and the rule
    applies to all connected keys. Otherwise it is 1. Your desktop may give you access even without this rule: mfa-kit
    doctor shows whether it does.
    """
    return print_state(wiring.doctor.rule_state(), output)


def print_state(state: RuleState, output: Output) -> int:
    """Print the state of the rule. Return the exit code."""
    output.one(
        "udev-status",
        {
            "rule": state.rule or None,
            "current": state.current,
            "group": state.members is not None,
            "members": state.members or [],
            "keys": state.keys,
            "other_keys": state.other_keys,
            "works": state.works,
        },
    )
    return int(not state.works)


@click.command("install", cls=Verb)
def install(*, settings: Settings, output: Output) -> int:
    """Install the udev rule for security keys, as root: create the group mfa-kit, write the rule, and apply it.

    Then check the result. Members of the group may use connected security keys. The exit code is 1 if the rule does not
    apply to a connected key.
    """
    state = wiring.doctor.rule_state() if settings.dry_run else wiring.doctor.install_rule()
    person = wiring.doctor.person_at_terminal()
    if not settings.dry_run and person and person not in (state.members or []):
        settings.progress.note(
            Message(f"to give {person} access", command("sudo usermod --append --groups mfa-kit {}", person))
        )
    code = print_state(state, output)
    return 0 if settings.dry_run else code


@click.command("remove", cls=Verb)
def remove(*, settings: Settings, output: Output) -> None:
    """Remove the udev rule for security keys from /etc, as root, and the group mfa-kit if it has no members."""
    state = wiring.doctor.rule_state()
    removed = bool(state.rule) if settings.dry_run else wiring.doctor.remove_rule()
    if state.members:
        settings.progress.note(
            Message("the group mfa-kit has members and is kept; to delete it", command("sudo groupdel mfa-kit"))
        )
    output.one("udev-remove", {"rule": removed, "group": state.members == [], "members": state.members or []})
