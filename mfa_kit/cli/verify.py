"""`mfa-kit verify`: a table of checks, and exit code 1 when the answer is no."""

from pathlib import Path

import click

from mfa_kit.cli import keys, options
from mfa_kit.cli.verify_fido2 import fido2
from mfa_kit.cli.verify_token import token


@click.group(cls=options.Noun)
def verify() -> None:
    """Prove that a key is fit, and that a user's device answers."""


verify.add_command(fido2)


@verify.command()
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


@verify.command()
@click.argument("user")
@options.DEVICE
@click.option("--key", "wanted_key", metavar="SERIAL|READER", help="Which key, when several hold the credential.")
@click.option("--resync", is_flag=True, help="Let AWS judge two codes, and keep the clock offset that it finds.")
@click.option("--backup", type=Path, metavar="FILE", help="Compare with the seed of this sealed backup.")
@click.option("-i", "--identity", "keys", multiple=True, type=Path, metavar="FILE", help="What opens the backup.")
@keys.PASSPHRASE_FD
@keys.password_stdin
def user(
    *,
    user: str,
    wanted: str | None,
    wanted_key: str | None,
    resync: bool,
    backup: Path | None,
    keys: tuple[Path, ...],
    passphrase_fd: int | None,
) -> int:
    """Prove that the key at hand is USER's MFA device: by AWS for your own, else by its label and a code."""
    from mfa_kit.cli.deeds import verify as deeds
    from mfa_kit.wiring.identities import Identities

    identities = Identities(keys, passphrase_fd=passphrase_fd, person=options.common().interaction)
    return deeds.user(user, wanted, wanted_key, resync=resync, backup=backup, identities=identities)


verify.add_command(token)
