"""The cells of `key list` and `key info` that name the users of a key. Without a shared ledger, there are none."""

from mfa_kit import wiring
from mfa_kit.cli.key.sources import KeyRow
from mfa_kit.cli.results import ResultRow
from mfa_kit.core.errors import MfaKitError
from mfa_kit.wiring.settings import Settings


def key_users(settings: Settings) -> "wiring.key_users.KeyUsers | None":
    """Return the users of keys from the ledger, or None if the ledger is not shared or cannot be used.

    The keys themselves can be listed without the ledger, so an error of the ledger is printed and not raised.
    """
    try:
        return wiring.key_users.read_key_users(settings)
    except MfaKitError as fault:
        settings.progress.alert(f"the users of keys are unknown: {fault}; {fault.hint}")
        return None


def user_cells(row: KeyRow, users: "wiring.key_users.KeyUsers | None") -> ResultRow:
    """Return the cells with the users of a key, and with the computer that recorded each user.

    If `users` is None, return no cells.
    """
    if users is None:
        return {}
    found = users.of_key([name for name in (row.serial, *row.names) if name])
    return {"users": [user for user, _ in found], "computers": [computer for _, computer in found]}
