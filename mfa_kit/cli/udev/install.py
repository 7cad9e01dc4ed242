"""`mfa-kit udev install`: install the udev rule for security keys."""

from shlex import quote

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.udev.show_state import print_state
from mfa_kit.wiring.settings import Settings


@click.command("install", cls=Verb)
def install(*, settings: Settings, output: Output) -> int:
    """Install the udev rule for security keys, as root: create the group mfa-kit, write the rule, and apply it.

    Then check the result. Members of the group may use connected security keys. The exit code is 1 if the rule does not
    apply to a connected key.
    """
    state = wiring.udev.rule_state() if settings.dry_run else wiring.udev.install_rule()
    person = wiring.udev.person_at_terminal()
    if not settings.dry_run and person and person not in (state.members or []):
        settings.progress.note(f"to give {person} access: sudo usermod --append --groups mfa-kit {quote(person)}")
    code = print_state(state, output)
    return 0 if settings.dry_run else code
