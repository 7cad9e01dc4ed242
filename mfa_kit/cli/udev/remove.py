"""`mfa-kit udev remove`: remove the udev rule for security keys."""

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.wiring.settings import Settings


@click.command("remove", cls=Verb)
def remove(*, settings: Settings, output: Output) -> None:
    """Remove the udev rule for security keys from /etc, as root, and the group mfa-kit if it has no members."""
    if settings.dry_run:
        state = wiring.udev.rule_state()
        removed = wiring.udev.Removed(rule=bool(state.rule), group=state.members == [], members=state.members or [])
    else:
        removed = wiring.udev.remove_rule()
    if removed.members:
        settings.progress.note("the group mfa-kit has members and is kept; to delete it: sudo groupdel mfa-kit")
    output.one("udev-remove", {"rule": removed.rule, "group": removed.group, "members": removed.members})
