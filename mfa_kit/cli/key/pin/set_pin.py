"""`mfa-kit key pin set`: set a PIN on a FIDO key that has none."""

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


@click.command("set", cls=Verb, needs_config=False)
@new_pin_options
def set_pin(
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
    """Set a PIN on a FIDO key that has none."""
    keys = wiring.security_keys.SecurityKeys(settings, pin_stdin=pin_stdin)
    source = keys.new_pin(
        wiring.security_keys.NewPinOptions(
            generate=generate, to=to, to_files=to_files, out=out, letter=letter_file(letter, paper)
        )
    )
    info = give_pin(keys, wanted, source, pin.set_pin, progress=settings.progress)
    output.one("key-pin", pin_row("set", info))
