"""Makes the Context (settings and ports for enrollment methods) of a command that gives users devices."""

from mfa_kit.enrollment.ports import IamReader
from mfa_kit.wiring.methods.recipe import Context
from mfa_kit.wiring.oath_keys import OathKeys
from mfa_kit.wiring.settings import Settings


def method_context(settings: Settings, iam_reader: IamReader, oath_keys: OathKeys) -> Context:
    """Return the Context of a command that gives users devices.

    `iam_reader` reads from IAM. Before a user gets a display token, the token is looked up in the ledger.
    """

    def check_token(serial: str, user: str) -> None:
        from mfa_kit.wiring.token_records import TokenRecords

        TokenRecords(settings).check_free(serial, user)

    return Context(settings=settings, iam_reader=iam_reader, oath_keys=oath_keys, check_token=check_token)
