"""`mfa-kit backup passphrase`: change the passphrase of an identity."""

from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import Declined
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, needs_config=False, acts_at_once=True)
@click.argument("file", type=Path, required=False)
def passphrase(*, file: Path | None, settings: Settings, output: Output) -> None:
    """Change the passphrase of this computer's identity, or of the identity FILE. No backup is changed."""
    identity = wiring.age_keys.own_identity(file)
    person = settings.interaction
    try:
        unlocked = wiring.age_keys.unlock(identity, person)
        new = wiring.age_keys.new_passphrase(person)
    except Declined as declined:
        declined.hint = "run this at a terminal, where you can type the new passphrase"
        raise
    person.say(wiring.age_keys.PROTECTING)
    unlocked.reencrypt(new)
    settings.progress.note(
        f"the old passphrase still decrypts older copies of {identity}; replace them with the new file"
    )
    output.one("backup-passphrase", {"identity": str(identity), "outcome": "changed"})
