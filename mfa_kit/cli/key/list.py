"""`mfa-kit key list`: list the keys that are plugged in, or watch for changes."""

import sys
from collections.abc import Sequence

import click

from mfa_kit import wiring
from mfa_kit.cli.key.sources import FidoSource, KeySource, OathSource, complain, key_users, look, user_cells
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.core.errors import MfaKitError
from mfa_kit.core.interaction import Progress
from mfa_kit.core.stopping import sleep
from mfa_kit.wiring.settings import Settings

# Seconds between two checks for a change.
WATCH = 0.3
NARROW = ("key", "serial", "firmware", "where", "fido_pin", "oath_password", "users", "computers")


def sources_of(settings: Settings) -> tuple[KeySource, ...]:
    """Return a source for each kind of key, in the order in which the sources are queried."""
    fido = wiring.security_keys.SecurityKeys(settings)
    return FidoSource(fido), OathSource(wiring.oath_keys.OathKeys(settings), beside=fido.find_same_device)


@click.command("list", cls=Verb, needs_config=False)
@click.option(
    "--watch", is_flag=True, help="Keep running and report each key that is connected or removed, until Ctrl-C."
)
def list_keys(*, watch: bool, settings: Settings, output: Output) -> None:
    """List the keys that are plugged in."""
    sources, progress = sources_of(settings), settings.progress
    # The state is read before the keys, so that a key inserted in between is noticed later.
    state = _state(sources) if watch else []
    users = key_users(settings)
    rows, faults = _look(sources, users)
    if not watch:
        _print_list(rows, faults, output=output, progress=progress)
        return
    complain(faults, progress)
    lines = output._replace(form="jsonl") if output.form == "json" else output
    for row in rows:
        lines.one("key-watch", {"event": "there", **row})
    _watch(sources, rows, state, users=users, output=lines, progress=progress)


def _print_list(
    rows: Sequence[ResultRow], faults: Sequence[MfaKitError], *, output: Output, progress: Progress
) -> None:
    """Print the keys on stdout, and the errors on stderr. If there are errors but no keys, raise the first error."""
    complain(faults if rows else faults[1:], progress)
    named = [{**row, "serial": row["serial"] or "no serial"} for row in rows]
    output.many("key-list", named if output.form == "table" else rows, empty="no keys", narrow=NARROW)
    if faults and not rows:
        raise faults[0]


def _state(sources: Sequence[KeySource]) -> list[object]:
    return [source.state() for source in sources]


def _look(
    sources: Sequence[KeySource], users: "wiring.ledger.KeyUsers | None"
) -> tuple[list[ResultRow], list[MfaKitError]]:
    plugged = look(sources)
    rows = [{**row.cells(), **user_cells(row, users)} for row in plugged.rows]
    return _alike(rows), [*plugged.faults, *plugged.missing]


def _alike(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Return the rows with the same fields, as `Output.many` requires. A missing field becomes None."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def _watch(
    sources: Sequence[KeySource],
    rows: list[ResultRow],
    state: list[object],
    *,
    users: "wiring.ledger.KeyUsers | None",
    output: Output,
    progress: Progress,
) -> None:
    """Print each key that is plugged in or removed, until Ctrl-C.

    `rows` has the result rows of the keys at the start, and `state` the states of the sources at the start. `users` has
    the users of keys, from the ledger, or is None.
    """
    while True:
        sleep(WATCH)
        if (now := _state(sources)) == state:
            continue
        state, before = now, rows
        rows, faults = _look(sources, users)
        complain(faults, progress)
        for event, some, others in (("removed", before, rows), ("plugged in", rows, before)):
            for row in some:
                if row not in others:
                    output.one("key-watch", {"event": event, **row})
        sys.stdout.flush()
