"""`mfa-kit key pin change`: change the PIN of a FIDO key."""

from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli.key.pin.new_pin_options import letter_file, new_pin_options
from mfa_kit.cli.key.pin_row import pin_row
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.security_keys import pin
from mfa_kit.security_keys.new_pin import give_pin
from mfa_kit.wiring.settings import Settings


@click.command("change", cls=Verb, needs_config=False)
@new_pin_options
def change_pin(
    *,
    wanted: str | None,
    pin_stdin: bool,
    generate: bool,
    to: tuple[str, ...],
    to_files: tuple[Path, ...],
    out: Path | None,
    letter: Path | None,
    paper: str,
    settings: Settings,
    output: Output,
) -> None:
    """Change the PIN of a FIDO key."""
    keys = wiring.security_keys.SecurityKeys(settings, pin_stdin=pin_stdin)
    source = keys.new_pin(
        wiring.security_keys.NewPinOptions(
            generate=generate, to=to, to_files=to_files, out=out, letter=letter_file(letter, paper)
        )
    )
    info = give_pin(
        keys, wanted, source, lambda key, new: pin.change_pin(key, keys.pins(), new), progress=settings.progress
    )
    output.one("key-pin", pin_row("changed", info))
