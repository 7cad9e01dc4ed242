"""`mfa-kit lab tour`: a guided tour of mfa-kit in a new lab."""

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, needs_config=False)
def tour(*, settings: Settings, output: Output) -> int:
    """Take a tour in a new lab: enroll a user, mistype a code, repair after a crash, and revoke the device."""
    failed = wiring.lab.tour(lambda text: output.prose(*text.split("\n")), person=settings.interaction)
    for title in failed:
        settings.progress.alert(f"this step failed: {title}")
    return 1 if failed else 0
