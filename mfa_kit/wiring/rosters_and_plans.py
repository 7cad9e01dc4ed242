"""Reads rosters, plans and proofs from files."""

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from mfa_kit.adapters.files import rollout_files
from mfa_kit.adapters.forge import public_keys
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.text import count_of
from mfa_kit.rollout.plan import CREATE, Plan, is_index, parse_plan, plan_digest
from mfa_kit.rollout.proofs import ProofLine, read_proofs
from mfa_kit.rollout.recipient_choice import FoundKeys
from mfa_kit.rollout.roster import Roster, parse_roster
from mfa_kit.rollout.roster_text import CellFault, ReadRow, read_rows
from mfa_kit.rollout.workers import Workers
from mfa_kit.wiring.age_keys import read_recipients
from mfa_kit.wiring.ledger import open_ledger
from mfa_kit.wiring.methods.registry import Methods
from mfa_kit.wiring.settings import Settings

if TYPE_CHECKING:
    from mfa_kit.rollout.roster_accounts import RosterAccounts


def parse_public_key(text: str) -> str:
    """Return a public key without its comment. Raise UsageFault if the text is not a public key.

    The message does not quote the text, because the text may be a private key.
    """
    key = " ".join(text.split()[:2]) if text.startswith("ssh-") else text
    try:
        read_recipients([key])
    except UsageFault as error:
        _, quoted, reason = str(error).partition(f"-r {key} ")
        raise UsageFault(f"it {reason}" if quoted else str(error), error.hint) from None
    return key


def read_roster(path: Path, methods: Methods, *, accounts: "RosterAccounts | None" = None) -> Roster:
    """Read a roster file (the list of users to enroll), for one account or for several `accounts`.

    Raise UsageFault if the file is not a roster.
    """
    text = rollout_files.read_text(path)
    return parse_roster(text, methods=methods.in_rosters(), parse_key=parse_public_key, accounts=accounts)


def read_proof_lines(path: Path) -> list[ProofLine]:
    """Return the lines of a file of proofs. Raise UsageFault if the file cannot be read or has no lines."""
    return read_proofs(rollout_files.read_text(path, hint="give a CSV file with the users' codes: --proofs FILE"))


def read_plan(path: Path, methods: Methods, *, expected: Sequence[str]) -> tuple[Plan, str]:
    """Return a plan and the SHA-256 of its file in hex.

    Raise UsageFault if the file is not the plan of one account, and the errors of `read_reviewed`.
    """
    text, digest = read_reviewed(path, expected=expected)
    if is_index(text):
        raise UsageFault(
            f"{path} is an index of the plans of several accounts, not a plan",
            f"give the plan of one account from {path.name}-plans; apply, handover, remind, status and undo also take "
            "the index with --accounts FILE or --org",
        )
    return plan_of(text, methods, name=str(path)), digest


def plan_of(text: str, methods: Methods, *, name: str) -> Plan:
    """Parse a plan. If the text is not a plan, raise UsageFault with a message that begins with `name`."""
    return parse_plan(text, methods=methods.in_rosters(), parse_key=parse_public_key, name=name)


def read_reviewed(path: Path, *, expected: Sequence[str], kind: str = "plan", hint: str = CREATE) -> tuple[str, str]:
    """Return the text of a file and its SHA-256 in hex.

    Raise UsageFault if the file cannot be read (with the hint `hint`), or if `expected` is not empty and does not
    contain this SHA-256. `kind` names the kind of file in the error.
    """
    text = rollout_files.read_text(path, hint=hint)
    digest = plan_digest(text)
    if expected and digest not in {sha256.lower() for sha256 in expected}:
        raise UsageFault(f"{path} is not the expected {kind}: its SHA-256 is {digest}", f"review the {kind} again")
    return text, digest


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
