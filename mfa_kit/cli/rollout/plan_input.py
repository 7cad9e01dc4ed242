"""Parses the options of `rollout plan` that select users, and checks the paths of its files."""

import os
from collections import Counter
from pathlib import Path

import click

from mfa_kit.core.errors import UsageFault
from mfa_kit.rollout.roster import UserSelection


def read_selection(
    *, groups: tuple[str, ...], path_prefix: str | None, tags: tuple[str, ...], without_mfa: bool
) -> UserSelection:
    """Return the selection of users that the options describe. Raise UsageFault for a malformed path or tag."""
    return UserSelection(
        groups=groups,
        path_prefix=_parse_prefix(path_prefix),
        tags=tuple(map(_parse_tag, tags)),
        without_mfa=without_mfa,
    )


def check_files(roster: Path | None, out: Path, skip_bad: Path | None, *, selects: bool, only: str | None) -> None:
    """Raise click.UsageError if the options give neither a roster nor a selection of users, or both.

    `selects` says whether an option other than --only selects users. --only (`only`) restricts the roster or the
    selection, or is the whole selection. Raise UsageFault if two of the files have the same path.
    """
    if selects if roster else not (selects or only):
        raise click.UsageError(
            "give either a ROSTER or a selection: --group, --path-prefix, --tag, --without-mfa, --only"
        )
    named = [file for file in (roster, out, skip_bad) if file]
    places = Counter(map(os.path.realpath, named))
    if same := next((file for file in named if places[os.path.realpath(file)] > 1), None):
        raise UsageFault(
            f"{same} is given for two files, so one would overwrite the other",
            "give ROSTER, --plan and --skip-bad different paths",
        )


def _parse_prefix(text: str | None) -> str:
    """Return the IAM path prefix, or "/" (all users) if `text` is empty or None.

    Raise UsageFault if the prefix does not begin with a slash.
    """
    if not text:
        return "/"
    if not text.startswith("/"):
        raise UsageFault(f"{text!a} is not an IAM path", "start it with a slash: --path-prefix /team/")
    return text


def _parse_tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageFault(f"{text!a} is not a tag", "write --tag K=V")
    return key, value
