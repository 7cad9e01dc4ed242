"""`mfa-kit key reset`: erase a FIDO key."""

import click

from mfa_kit import wiring
from mfa_kit.cli.key.pin_row import pin_row
from mfa_kit.cli.key_options import WHICH_FIDO
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.security_keys.authenticator import KeyInfo
from mfa_kit.security_keys.pin import confirm_by_name
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, needs_config=False)
@WHICH_FIDO
def reset(*, wanted: str | None, settings: Settings, output: Output) -> None:
    """Erase the PIN and all credentials of a FIDO key. mfa-kit asks you to unplug the key and plug it in again."""

    def confirm(what: str, info: KeyInfo) -> None:
        """Ask the user to confirm the action that `what` describes.

        With --yes and --key, ask nothing. Raise UsageFault for --yes without --key.
        """
        confirm_by_name(what, info, wanted=wanted, yes=settings.yes, interaction=settings.interaction)

    info = wiring.security_keys.SecurityKeys(settings).resetter().reset(wanted, confirm=confirm)
    output.one("key-pin", pin_row("reset", info))
