"""The cells of `key list` and `key info` about a key's users, which a shared ledger has."""

from mfa_kit import wiring
from mfa_kit.cli.key.sources import KeyRow
from mfa_kit.cli.results import ResultRow
from mfa_kit.core.errors import MfaKitError
from mfa_kit.wiring.settings import Settings


def key_users(settings: Settings) -> "wiring.key_users.KeyUsers | None":
    """Return the users of keys from the ledger, or None if it is not shared or cannot be used.

    The keys themselves can be listed without it, so a fault of the ledger is only reported.
    """
    try:
        return wiring.key_users.read_key_users(settings)
    except MfaKitError as fault:
        settings.progress.alert(f"the users of keys are unknown: {fault}; {fault.hint}")
        return None


def user_cells(row: KeyRow, users: "wiring.key_users.KeyUsers | None") -> ResultRow:
    """Return the users of a key, and for each the computer that recorded it; nothing without a shared ledger."""
    if users is None:
        return {}
    found = users.of_key([name for name in (row.serial, *row.names) if name])
    return {"users": [user for user, _ in found], "computers": [computer for _, computer in found]}
