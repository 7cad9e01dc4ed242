"""The result rows and messages for rejected rows of a file."""

from collections.abc import Sequence

from mfa_kit.cli.results import ResultRow
from mfa_kit.core.interaction import Progress
from mfa_kit.tokens.seeds import DroppedRow


def dropped_rows(dropped: Sequence[DroppedRow]) -> list[ResultRow]:
    """Return a result row for each rejected row, with the fields `where` and `reason`."""
    return [{"where": each.where, "reason": each.reason} for each in dropped]


def note_dropped(dropped: Sequence[DroppedRow], progress: Progress) -> None:
    """Print each rejected row on stderr, for output forms that have no place for rejected rows."""
    for each in dropped:
        progress.alert(f"{each.where}: {each.reason}")
