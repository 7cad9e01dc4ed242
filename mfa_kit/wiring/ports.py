"""Opens an EnrollmentPorts with AWS, the ledger and the backups."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mfa_kit.core import models
from mfa_kit.core.models import Caller
from mfa_kit.core.stopping import Stop
from mfa_kit.enrollment.pacing import Backoff, InTurn
from mfa_kit.enrollment.ports import BackupStore, EnrollmentPorts, IamReader
from mfa_kit.wiring.aws import connect
from mfa_kit.wiring.desk_assembly import assemble_desk
from mfa_kit.wiring.methods.recipe import Methods
from mfa_kit.wiring.oath_keys import OathKeys
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.stores import open_vault

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.iam import Iam
    from mfa_kit.adapters.ledger.ledger import Ledger


def new_run_id(iam_reader: IamReader) -> str:
    """Return the ID of a run that begins now, according to AWS's clock."""
    import secrets

    return models.run_id(iam_reader.now(), secrets.token_bytes(4))


def desk_of(
    settings: Settings,
    methods: Methods,
    *,
    iam: "Iam",
    ledger: "Ledger",
    store: BackupStore | None = None,
    oath_keys: OathKeys | None = None,
) -> EnrollmentPorts:
    """Return an EnrollmentPorts that changes one user at a time.

    `store` is the store of backups. It defaults to the configured folder and recipients. `oath_keys` defaults to a new
    OathKeys.
    """
    return assemble_desk(
        settings,
        methods,
        iam_reader=iam,
        device_writer=InTurn(iam, Backoff(sleep=settings.sleep, progress=settings.progress)),
        store=store or open_vault(settings),
        ledger=ledger,
        sleep=settings.sleep,
        oath_keys=oath_keys,
    )


@contextmanager
def open_desk(
    settings: Settings,
    methods: Methods,
    *,
    store: BackupStore | None = None,
    oath_keys: OathKeys | None = None,
    stop: Stop | None = None,
) -> Iterator[tuple[EnrollmentPorts, Caller]]:
    """Connect to AWS and the ledger. Yield an EnrollmentPorts that changes one user at a time, and the Caller.

    The Caller is the AWS identity of the credentials. `store` is the store of backups. It defaults to the configured
    folder and recipients. A command that uses OATH keys itself passes its `oath_keys`, so that the user types each
    password only once. `stop` is as in `open_iam`. Raise the errors of `connect`.
    """
    store = store or open_vault(settings)
    with connect(settings, stop=stop) as (iam, ledger, caller):
        yield desk_of(settings, methods, iam=iam, ledger=ledger, store=store, oath_keys=oath_keys), caller
