"""`mfa-kit key pin policy`: set the rules for the PIN of a FIDO key."""

import click

from mfa_kit import wiring
from mfa_kit.cli.key.pin_row import pin_row
from mfa_kit.cli.key_options import PIN_STDIN, WHICH_FIDO
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import UsageFault
from mfa_kit.security_keys.pin import confirm_by_name, set_pin_policy
from mfa_kit.wiring.settings import Settings


@click.command("policy", cls=Verb, needs_config=False)
@WHICH_FIDO
@click.option(
    "--min-length", "shortest", type=click.IntRange(4, 63), help="Minimum length of the PIN. It can only be raised."
)
@click.option("--force-change", is_flag=True, help="Require a new PIN before the key is used again.")
@PIN_STDIN
def pin_policy(
    *,
    wanted: str | None,
    shortest: int | None,
    force_change: bool,
    pin_stdin: bool,
    settings: Settings,
    output: Output,
) -> None:
    """Set the minimum PIN length of a FIDO key, or require a new PIN before the key is used again."""
    if shortest is None and not force_change:
        raise UsageFault("key pin policy needs an option", "add --min-length N, --force-change, or both")
    keys = wiring.security_keys.SecurityKeys(settings, pin_stdin=pin_stdin)
    with keys.open(wanted) as opened:
        before = opened.info()

        def confirm(what: str) -> None:
            """Ask the user to confirm `what`.

            With --yes and --key, ask nothing. Raise UsageFault for --yes without --key.
            """
            confirm_by_name(what, before, wanted=wanted, yes=settings.yes, interaction=settings.interaction)

        info = set_pin_policy(opened, keys.pins(), shortest=shortest, force_change=force_change, confirm=confirm)
    output.one("key-pin", pin_row("policy set", info))
    if info.force_pin_change:
        settings.progress.alert("the key now requires a new PIN: mfa-kit key pin change")
