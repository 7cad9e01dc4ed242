"""`mfa-kit key`: what is plugged in, its password, its PIN, and its reset."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mfa_kit.cli import keys, options
from mfa_kit.core.errors import Declined, UsageFault


@click.group(cls=options.Noun)
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
def metadata(*, model: str | None) -> int:
    """Show what is published of MODEL, a part of its name, its AAGUID or a key identifier; without it, of what age.

    Ends with 1 where nothing is published of it.
    """
    from mfa_kit.cli.deeds import key as deeds

    return deeds.metadata(model)


@key.group(cls=options.Noun)
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

    if not options.common().yes:
        raise Declined("the key would have no password any more", "add --yes to confirm")
    deeds.clear(wanted)


@key.group(cls=options.Noun)
def pin() -> None:
    """Set or change the PIN of a FIDO key, or what its PINs have to be."""


def _new_pin(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of verbs that give a key a new PIN."""
    for decorate in reversed(
        (
            click.option("--key", "wanted", metavar="SERIAL|PLACE", help="Which key, when several are plugged in."),
            keys.pins_stdin,
            click.option("--generate", is_flag=True, help="Make a PIN of digits; it is shown once, or sealed."),
            click.option(
                "-r", "--recipient", "to", multiple=True, metavar="RECIPIENT", help="Seal it to an age or SSH key."
            ),
            click.option(
                "-R",
                "--recipients-file",
                "to_files",
                multiple=True,
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="Recipients, one a line.",
            ),
            click.option(
                "-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="The new file for the sealed PIN."
            ),
        )
    ):
        function = decorate(function)
    return function


@pin.command("set")
@_new_pin
def set_pin(*, wanted: str | None, **source: Any) -> None:
    """Give a PIN to a FIDO key that has none."""
    from mfa_kit.cli.deeds import key as deeds

    deeds.set_pin(wanted, source)


@pin.command("change")
@_new_pin
def change_pin(*, wanted: str | None, **source: Any) -> None:
    """Give a FIDO key another PIN."""
    from mfa_kit.cli.deeds import key as deeds

    deeds.change_pin(wanted, source)


@pin.command()
@click.option("--key", "wanted", metavar="SERIAL|PLACE", help="Which key, when several are plugged in.")
@click.option("--min-length", "shortest", type=click.IntRange(4, 63), help="The shortest PIN; it can only be raised.")
@click.option("--force-change", is_flag=True, help="Have the PIN changed before it is used again.")
@keys.pin_stdin
def policy(*, wanted: str | None, shortest: int | None, force_change: bool) -> None:
    """Say what PINs of a FIDO key have to be, or have the present one changed by whoever gets the key."""
    from mfa_kit.cli.deeds import key as deeds

    if shortest is None and not force_change:
        raise UsageFault("a policy says something", "write --min-length N, --force-change, or both")
    deeds.policy(wanted, shortest=shortest, force_change=force_change)


@key.command()
@click.option("--key", "wanted", metavar="SERIAL|PLACE", help="Which key, when several are plugged in.")
def reset(*, wanted: str | None) -> None:
    """Erase a FIDO key: its PIN and all its credentials. It has to be unplugged and plugged in again for this."""
    from mfa_kit.cli.deeds import key as deeds

    deeds.reset(wanted)
