"""Reads the ledger's history as log lines: API calls, and the states that runs reached with devices."""

from collections.abc import Iterable
from dataclasses import dataclass

from mfa_kit.adapters.ledger.tables import SqlRow
from mfa_kit.core.models import Purpose, Reached

_HISTORY = """
    select at, what, answer, "user", device, file, reference, computer from (
        select at, operation as what, answer, "user", serial as device, file, request_id as reference,
            {computer} as computer from events
        union all
        select ends.at, ends.verb, ends.reached, intent ->> 'user', serial, backup, run, {end}
            from ends join journal using (run, serial)
        union all
        select at, verb, reached, intent ->> 'user', serial, backup, run, {computer} from journal
            where reached not in ('confirmed', 'undone', 'revoked')
    ) as happened
    where at >= $1 and (cast($2 as text) is null or "user" = $2 or "user" is null and device in (
        select serial from journal where intent ->> 'user' = $2
    )) order by at
"""
# The tables have a column `computer` only in a shared ledger.
HISTORY = _HISTORY.format(computer="null", end="null")
SHARED_HISTORY = _HISTORY.format(computer="computer", end="ends.computer")
HISTORY_TYPES = "time text text text? text? text? text? text?"
# Readable words for the purpose of a run and for its progress.
WORDS: dict[str, str] = {
    Purpose.ENROLL: "enrollment",
    Purpose.REVOKE: "revocation",
    Purpose.ADD: "backup of an existing device",
    Purpose.LOST: "revocation of a lost device",
    Reached.INTENT: "started, result unknown",
    Reached.CREATED: "half-made",
    Reached.STAGED: "staged, to be enabled later",
    Reached.ENABLED: "enabled, not yet confirmed",
    Reached.CONFIRMED: "done",
    Reached.UNDONE: "undone",
    Reached.REVOKING: "in progress",
    Reached.REVOKED: "done",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of the log as it is shown: a call, or the state that a run reached with a device.

    `at` is in Unix seconds. `reference` is a request ID or a run ID. `computer` is the computer that recorded the call
    or state, or None if the ledger is not shared.
    """

    at: float
    what: str
    answer: str
    user: str | None
    device: str | None
    file: str | None
    reference: str | None
    computer: str | None = None


def happened(rows: Iterable[SqlRow]) -> list[LogLine]:
    """Convert rows of HISTORY or SHARED_HISTORY to log lines, with the readable words in WORDS instead of codes.

    A code that is not in WORDS, such as the name of an IAM operation, is not changed.
    """
    return [
        LogLine(
            at=at,
            what=_word(what),
            answer=_word(answer),
            user=user,
            device=device,
            file=file,
            reference=reference,
            computer=computer,
        )
        for at, what, answer, user, device, file, reference, computer in rows
    ]


def _word(code: str) -> str:
    return WORDS.get(code, code)
