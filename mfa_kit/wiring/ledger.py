"""The ledger, for the verbs that read it."""

from typing import TYPE_CHECKING

from mfa_kit.wiring.this_computer import home

if TYPE_CHECKING:
    from mfa_kit.core.models import Happened


def history(user: str | None, since: float) -> list["Happened"]:
    """Return what this desk did, oldest first."""
    from mfa_kit.adapters.ledger.ledger import Ledger

    with Ledger(home()) as ledger:
        return ledger.history(user=user, since=since)
