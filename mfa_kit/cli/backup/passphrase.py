"""`mfa-kit backup passphrase`."""

from pathlib import Path

import click

from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import Declined
from mfa_kit.wiring import passphrase as wiring
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, needs_config=False)
@click.argument("file", type=Path, required=False)
def passphrase(*, file: Path | None, settings: Settings, output: Output) -> None:
    """Change the passphrase of this desk's identity, or of the identity FILE; no backup is touched."""
    identity = wiring.own_identity(file)
    person = settings.interaction
    try:
        before = person.ask_secret(f"passphrase of {identity} as it is", instead="a terminal")
        after = wiring.new_passphrase(person)
    except Declined as declined:
        declined.hint = "run this at a terminal: a new passphrase is typed twice"
        raise
    wiring.change_passphrase(identity, before, after)
    settings.progress.note(
        f"copies of {identity} from before open with the old passphrase as ever; replace them by this one"
    )
    output.one("backup-passphrase", {"identity": str(identity), "outcome": "changed"})
