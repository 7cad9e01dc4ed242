"""Reads the public keys of users from a forge (such as GitHub) or a file, and the roster to which they are added."""

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from threading import Event

from mfa_kit.adapters.files import rollout_files
from mfa_kit.adapters.forge import public_keys
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.text import count_of
from mfa_kit.rollout.recipient_choice import FoundKeys
from mfa_kit.rollout.roster_text import CellFault, ReadRow, read_rows
from mfa_kit.rollout.workers import Workers
from mfa_kit.wiring.ledger import open_ledger
from mfa_kit.wiring.rosters_and_plans import parse_public_key
from mfa_kit.wiring.settings import Settings

# The number of requests to a forge that are in progress at a time.
AT_ONCE = 4


def read_roster_cells(path: Path, *, also: Collection[str]) -> list[ReadRow]:
    """Return the rows of a roster. Each row has the known columns and the columns in `also`.

    Raise UsageFault if the text is not a roster, or if rows cannot be read. The error has a note for each such row.
    """
    rows = read_rows(rollout_files.read_text(path), also=also).rows
    faults = [row for row in rows if isinstance(row, CellFault)]
    if faults:
        error = UsageFault(f"{path} has {count_of(len(faults), 'error')}", "correct these rows")
        for fault in faults:
            error.add_note(str(fault))
        raise error
    return [row for row in rows if isinstance(row, ReadRow)]


def fetch_all(base: str, logins: Sequence[str]) -> dict[str, FoundKeys]:
    """Return the keys of accounts on a forge, by login. Raise UsageFault if `base` is not the address of a forge."""
    address = public_keys.check_base(base)

    def act(login: str) -> tuple[str, FoundKeys]:
        return login, _fetch(address, login)

    return dict(Workers(act=act, number=AT_ONCE, stop=Event()).work_through(logins))


def _fetch(base: str, login: str) -> FoundKeys:
    try:
        source = public_keys.keys_address(base, login)
    except public_keys.FetchError as error:
        return FoundKeys(source="", fault=str(error))
    try:
        return _sorted(source, public_keys.fetch_keys(source))
    except public_keys.FetchError as error:
        return FoundKeys(source=source, fault=str(error))


def read_all(path: Path) -> dict[str, FoundKeys]:
    """Return the public keys in a file, by name. Each line has a name, then a key in OpenSSH's or age's format.

    Raise UsageFault if the file cannot be read, or if a line has no key.
    """
    lines: dict[str, list[str]] = {}
    text = rollout_files.read_text(path, hint="give a file with a name and a public key on each line: --from FILE")
    for number, line in enumerate(text.splitlines(), 1):
        name, key = [*line.split(maxsplit=1), "", ""][:2]
        if not name or name.startswith("#"):
            continue
        if not key.strip():
            raise UsageFault(
                f"line {number} of {path} has no key", "write a name and a public key: alice ssh-ed25519 AAAA…"
            )
        lines.setdefault(name, []).append(key.strip())
    return {name: _sorted(str(path), keys) for name, keys in lines.items()}


def _sorted(source: str, lines: Sequence[str]) -> FoundKeys:
    from mfa_kit.adapters.forge.public_keys import AGE, sort_keys

    usable, skipped = sort_keys(lines)
    refused: list[str] = []
    accepted_keys: list[str] = []
    for key in usable:
        try:
            accepted_keys.append(parse_public_key(key))
        except UsageFault:  # for example, the key has a small order, or the age recipient has a typo
            kind = "age" if key.startswith(AGE) else key.split(maxsplit=1)[0]
            refused.append(f"an {kind} key to which nothing can be encrypted")
    return FoundKeys(source=source, usable=accepted_keys, skipped=[*skipped, *dict.fromkeys(refused)])


def recipients_before(settings: Settings) -> Mapping[str, Mapping[str, str]]:
    """Return the latest recipient of each user's own copies, by user name and then by account.

    The names are in lower case, because IAM ignores case, and a roster may spell a name in another case.
    """
    recipients: dict[str, dict[str, str]] = {}
    with open_ledger(settings) as ledger:
        for user, by_account in ledger.recipients_by_user().items():
            recipients.setdefault(user.lower(), {}).update(by_account)
    return recipients


def now() -> float:
    """Return the time of this computer in Unix seconds."""
    return time.time()
