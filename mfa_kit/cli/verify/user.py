"""`mfa-kit verify user`."""

from pathlib import Path

import click

from mfa_kit.cli import keys, options


@click.command(cls=options.Verb)
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
