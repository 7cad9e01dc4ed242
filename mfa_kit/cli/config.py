"""`mfa-kit config show`, `path` and `validate`: the configuration file."""

from dataclasses import asdict

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.text import ResultRow, one_line


@click.command("show", cls=Verb)
def show_config(*, output: Output) -> None:
    """Print the settings in the configuration file. The table omits unset keys."""
    values = asdict(wiring.settings.load_config())
    if values["ledger"]:
        values["ledger"] = _without_password(values["ledger"])
    values["profile_tables"] = [_line_of(profile) for profile in values.pop("key_profiles").values()]
    row = {wiring.settings.key_of(name): value or None for name, value in values.items()}
    output.one("config-show", {"path": str(wiring.settings.config_path()), **row})


def _line_of(profile: dict[str, object]) -> str:
    """Return the settings of a profile of keys as `NAME: key value, …`. Settings that are not set are left out."""
    name = profile.pop("name")
    words = {wiring.settings.key_of(key): setting for key, setting in profile.items() if setting not in (None, ())}
    shown = {key: " ".join(setting) if isinstance(setting, tuple) else setting for key, setting in words.items()}
    return f"{name}: {', '.join(f'{key} {str(setting).lower()}' for key, setting in shown.items())}"


def _without_password(address: str) -> str:
    """Return the address of a ledger, or why the address is not shown.

    The address is shown only if `check_address` accepts it, because any other address may contain a password.
    """
    try:
        wiring.ledger.check_address(address)
    except UsageFault as fault:
        return f"not shown: {fault}"
    return address


@click.command(cls=Verb)
def path(*, output: Output) -> None:
    """Print the path of the configuration file. The file need not exist."""
    place = str(wiring.settings.config_path())
    if output.form == "table":
        # The path is the only output, so that a script can use it: "$(mfa-kit config path)".
        output.text(f"{one_line(place)}\n")
    else:
        output.one("config-path", {"path": place})


@click.command(cls=Verb)
def validate(*, output: Output) -> None:
    """Check the configuration file: its permissions, settings, plugins and recipients, and the ledger's address."""
    plugins, recipients = wiring.age_keys.check_configured_plugins(), wiring.age_keys.configured_recipients()
    config = wiring.settings.load_config()
    if config.ledger:
        wiring.ledger.check_address(config.ledger)
    for name, profile in config.key_profiles.items():
        wiring.age_keys.read_recipients(profile.recipients, source=f"in profile {name},")
    path = wiring.settings.config_path()
    row: ResultRow = {
        "path": str(path),
        "exists": path.exists(),
        "valid": True,
        "recipients": len(recipients),
        "age_plugins": plugins,
        "profiles": len(config.key_profiles),
    }
    output.one("config-validate", row)
