"""`mfa-kit rollout station`: enroll the users of a plan who have to be present, one after another."""

from __future__ import annotations

import copy
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from mfa_kit.cli.backup_options import BACKUP_DIR, KEY_PROFILE, LOCAL_BACKUPS, RECIPIENT, RECIPIENTS_FILE
from mfa_kit.cli.browser.options import page_options
from mfa_kit.cli.letters import PAPER
from mfa_kit.cli.method_verb import click_options, single
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output, call_place
from mfa_kit.cli.rollout import options
from mfa_kit.cli.value_types import LocalPath
from mfa_kit.wiring.methods.registry import METHODS

# The function that does the work of the command, as `module:function`. Its module is imported only for the work.
WORK = "mfa_kit.cli.rollout.session:hold_session"

if TYPE_CHECKING:
    from mfa_kit.cli.rollout.session import hold_session
    from mfa_kit.core.models import BackupLocation
    from mfa_kit.letters.sheet import Paper
    from mfa_kit.wiring.settings import Settings
else:
    hold_session = partial(call_place, WORK)


class StationChoices(TypedDict):
    """The values of the command's own options. At run time, those of the enrollment methods are beside them."""

    plan_file: Path
    kinds: tuple[str, ...]
    only: tuple[str, ...]
    stage: bool
    to: tuple[str, ...]
    to_files: tuple[Path, ...]
    backup_dir: BackupLocation | None
    local_backups: bool
    expected: tuple[str, ...]
    results: Path | None
    records: tuple[Path, ...]
    key_profile: str | None
    letters: Path | None
    paper: Paper
    page: bool
    no_browser: bool


class StationVerb(Verb):
    """The command `rollout station`, with its own options and those of all enrollment methods that it supports.

    Options whose values come from the roster row or from the inserted key are left out.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own options, then those of the enrollment methods, then --help."""
        *own, page = super().get_params(ctx)
        return [*own, *self._of_methods, page]

    @cached_property
    def _of_methods(self) -> list[click.Option]:
        """The options of the enrollment methods that the station supports.

        They are cached, because click asks for the parameters several times.
        """
        of_method: dict[str | None, click.Option] = {}
        for method in METHODS.values():
            for option in click_options(method.options) if method.call else ():
                if option.name not in single(method.options):
                    # Of two options with one name, the first one is for phones, and more people use it.
                    of_method.setdefault(option.name, option)
        return [*of_method.values()]


@click.command(cls=StationVerb)
@options.PLAN_FILE
@click.option(
    "--with",
    "kinds",
    multiple=True,
    type=click.Choice([name for name, method in METHODS.items() if method.call]),
    help="Only rows of this kind [all except virtual]. With virtual, users enroll their phones at the station.",
)
@options.ONLY
@click.option(
    "--stage", is_flag=True, help="Prepare the keys that are sent by post, and enable nothing. Leave out all others."
)
@RECIPIENT
@RECIPIENTS_FILE
@BACKUP_DIR
@LOCAL_BACKUPS
@options.EXPECTED
@options.RESULTS
@options.RECORD
@KEY_PROFILE
@click.option(
    "--letters",
    type=LocalPath(file_okay=False, exists=True),
    metavar="DIR",
    help="Also write each random PIN of a profile to a letter in this folder, as PDF and unencrypted.",
)
@PAPER
@page_options
def station(*, settings: Settings, output: Output, **choices: Unpack[StationChoices]) -> int:
    """Enroll users of PLAN in person, one after another. Run the same command again to continue."""
    if click.get_current_context().info_name == bench.name:
        settings.progress.alert("note: rollout bench is deprecated; use mfa-kit rollout station")
    return hold_session(settings=settings, output=output, **choices)


# `bench` is the deprecated name of this command. The help does not list it.
bench = copy.copy(station)
bench.name, bench.hidden = "bench", True
