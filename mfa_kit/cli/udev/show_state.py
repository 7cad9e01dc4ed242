"""`mfa-kit udev status`: show whether the udev rule for security keys is installed and works."""

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output


@click.command("status", cls=Verb)
def status(*, output: Output) -> int:
    """Show whether the udev rule for security keys is installed, and for which keys it works.

    The exit code is 0 if the rule of this version of mfa-kit is installed, the group mfa-kit exists, and the rule
    applies to all connected keys. Otherwise it is 1. Your desktop may give you access even without this rule: mfa-kit
    doctor shows whether it does.
    """
    return print_state(wiring.udev.rule_state(), output)


def print_state(state: "wiring.udev.RuleState", output: Output) -> int:
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
