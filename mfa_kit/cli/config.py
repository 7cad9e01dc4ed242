"""`mfa-kit config`: where the configuration is, what it says, and whether it is sound."""

import click

from mfa_kit.cli import options, output


@click.group(cls=options.Noun)
def config() -> None:
    """Look at the configuration file, which holds defaults for flags."""


@config.command()
def path() -> None:
    """Print where the file is, or would be."""
    from mfa_kit.wiring import config as kit

    output.one("config-path", {"path": str(kit.path())}, output=options.form())


@config.command()
def show() -> None:
    """Print what the file says; keys that it has not are left out."""
    from mfa_kit.wiring import config as kit

    said = {key: value or None for key, value in kit.rows(kit.load()).items()}
    output.one("config-show", {"path": str(kit.path()), **said}, output=options.form())


@config.command()
def validate() -> None:
    """Check the file: its rights, its keys, and that its recipients are some."""
    from mfa_kit.wiring import config as kit

    output.one("config-validate", {"path": str(kit.path()), **kit.check()}, output=options.form())
