"""Reads rosters, plans and proofs from files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.adapters.files import rollout_files
from mfa_kit.core.errors import UsageFault
from mfa_kit.rollout.plan import CREATE, Plan, is_index, parse_plan, plan_digest
from mfa_kit.rollout.proofs import ProofLine, read_proofs
from mfa_kit.rollout.roster import Roster, parse_roster
from mfa_kit.wiring.backup_recipients import read_recipients
from mfa_kit.wiring.methods.recipe import Methods

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
