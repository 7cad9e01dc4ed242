"""Parses the common options and the configuration file into Settings.

This module is imported when a command runs, but not when only the command's help is shown.
"""

import sys

import click

from mfa_kit import wiring
from mfa_kit.cli import forms, messages, terminal
from mfa_kit.cli.environment import RETIRED, Flags
from mfa_kit.cli.messages import StderrProgress
from mfa_kit.cli.shutdown import end_at_once
from mfa_kit.core.errors import MfaKitError
from mfa_kit.wiring.settings import Settings, person_at_terminal


def read_settings(flags: Flags, *, needs_config: bool = True) -> Settings:
    """Return the settings. An option on the command line takes precedence over the configuration file.

    If the configuration file is invalid and `needs_config` is true, raise MfaKitError. If the file is invalid and
    `needs_config` is false, print a note and ignore the file.
    """
    try:
        config = wiring.settings.load_config()
    except MfaKitError as fault:
        if needs_config:
            raise
        StderrProgress().alert(f"note: ignoring the configuration file: {fault}")
        config = wiring.settings.Config()
    plain = flags.plain or bool(config.plain)
    person = terminal.find_person(plain=plain, no_input=flags.no_input, dry=flags.dry_run)
    person_at_terminal.set(person)
    return Settings(
        interaction=person,
        progress=messages.find_progress(plain=plain, quiet=flags.quiet),
        sleep=messages.countdown_sleep(plain=plain or flags.quiet),
        end=end_at_once,
        config=config,
        profile=config.profile if flags.profile is None else flags.profile,
        region=config.region if flags.region is None else flags.region,
        endpoint_url=flags.endpoint_url,
        account=config.account if flags.account is None else flags.account,
        ledger=config.ledger if flags.ledger is None else flags.ledger,
        retired_recipients=tuple(click.get_current_context().meta.get(RETIRED, ())),
        yes=flags.yes,
        no_input=flags.no_input,
        typed=flags.typed,
        dry_run=flags.dry_run,
        plain=plain,
        quiet=flags.quiet,
        debug=flags.debug,
        whole_names=flags.wide or not sys.stderr.isatty(),
    )


def has_color(flags: Flags) -> bool:
    """Return whether tables are printed with colors. An invalid configuration file is ignored."""
    if flags.plain or not forms.can_color():
        return False
    try:
        return not wiring.settings.load_config().plain
    except MfaKitError:
        return True
