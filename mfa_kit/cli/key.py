"""`mfa-kit key`: what is plugged in, and its password."""

import click

from mfa_kit.cli import flags, keys
from mfa_kit.errors import Declined


@click.group(cls=flags.Noun)
def key() -> None:
    """List the keys that are plugged in, and look after them."""


@key.command("list")
@click.option("--watch", is_flag=True, help="Go on, and tell each key that comes or goes, until Ctrl-C.")
def list_(*, watch: bool) -> None:
    """List the keys that are plugged in."""
    from mfa_kit.cli.deeds import key as deeds

    deeds.list_(watch=watch)


@key.command()
@keys.WHICH
@keys.password_stdin
@keys.count
@keys.pin_stdin
@keys.mds
@keys.mds_root
def info(*, wanted: str | None) -> None:
    """Tell more of one key: what it says of itself, and its OATH credentials, after its password where it has one.

    What a FIDO key claims to be is proven by `verify fido2` alone.
    """
    from mfa_kit.cli.deeds import key as deeds

    deeds.info(wanted)


@key.command()
@click.argument("model", required=False)
@keys.mds
@keys.mds_root
def metadata(*, model: str | None) -> None:
    """Show what is published of MODEL, a part of its name, its AAGUID or a key identifier; without it, of what age."""
    from mfa_kit.cli.deeds import key as deeds

    deeds.metadata(model)


@key.group(cls=flags.Noun)
def password() -> None:
    """Set, change or clear the password of a key's OATH applet."""


@password.command("set")
@keys.WHICH
@keys.password_stdin
def set_(*, wanted: str | None) -> None:
    """Give a key a password that has none."""
    from mfa_kit.cli.deeds import key as deeds

    deeds.password(wanted, had=False)


@password.command()
@keys.WHICH
@keys.password_stdin
def change(*, wanted: str | None) -> None:
    """Give a key another password."""
    from mfa_kit.cli.deeds import key as deeds

    deeds.password(wanted, had=True)


@password.command()
@keys.WHICH
@keys.password_stdin
def clear(*, wanted: str | None) -> None:
    """Take a key's password away: whoever holds the key then has its codes."""
    from mfa_kit.cli.deeds import key as deeds

    if not flags.common().yes:
        raise Declined("the key would have no password any more", "add --yes to confirm")
    deeds.clear(wanted)
