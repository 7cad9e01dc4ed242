"""`mfa-kit verify oath`."""

import click

from mfa_kit.cli import keys
from mfa_kit.cli.options import Verb


@click.command(cls=Verb)
@keys.WHICH
@click.option("--no-write", is_flag=True, help="Leave out the credential that is written, used and deleted again.")
@click.option("--maker", is_flag=True, help="Prove its maker by the FIDO attestation of the same key: two touches.")
@keys.mds
@keys.mds_root
@keys.pin_stdin
@keys.password_stdin
def oath(*, wanted: str | None, no_write: bool, maker: bool) -> int:
    """Prove that an OATH key is fit to be given to somebody; --account says whose credentials to look for."""
    from mfa_kit.cli.deeds import verify as deeds

    return deeds.oath(wanted, write=not no_write, maker=maker)
