"""`mfa-kit verify fido2`: is this security key genuine and fit? One key, or a box of them."""

from pathlib import Path

import click

from mfa_kit.cli import keys, options

File = click.Path(path_type=Path)


@click.command("fido2", cls=options.Verb)
@click.option("--key", "wanted", metavar="SERIAL|PLACE", help="Which key, when several are plugged in.")
@click.option("--require", type=File, metavar="FILE", help="What a key has to be: a policy file (docs/policy-file.md).")
@keys.mds
@keys.mds_root
@click.option("--watch", is_flag=True, help="A box of keys, one after the other, until Ctrl-C.")
@click.option(
    "--asset", metavar="LABEL", help="Your own label of the key, for the receipt; with --watch, and a number."
)
@keys.pin_stdin
def fido2(*, wanted: str | None, require: Path | None, watch: bool, asset: str | None) -> int:
    """Is this security key genuine and fit? Two touches; nothing stays on the key."""
    from mfa_kit.cli.deeds import verify_fido2 as deeds

    return deeds.fido2(wanted, require, watch=watch, asset=asset)
