"""Opens what `status` needs: an EnrollmentPorts for one account, and the source of the account's lists of devices."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mfa_kit.account.reading import AccountSource
from mfa_kit.core.models import BackupLocation, Caller
from mfa_kit.core.stopping import Stop
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.wiring.audit import account_source
from mfa_kit.wiring.aws import connect
from mfa_kit.wiring.ports import enrollment_ports
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.stores import open_vault


@dataclass(frozen=True, slots=True)
class StatusSources:
    """The ports of `status`, and the Caller: the AWS identity of the credentials."""

    ports: EnrollmentPorts
    account: AccountSource
    caller: Caller


@contextmanager
def open_status(settings: Settings, backup_dir: BackupLocation | None, *, stop: Stop) -> Iterator[StatusSources]:
    """Connect to AWS and the ledger, and yield the ports of `status`.

    `backup_dir` is the folder of backups; None means the configured folder, else the default folder. `stop` is as in
    `open_iam`. Raise the errors of `connect`.
    """
    store = open_vault(settings, backup_dir)
    with connect(settings, stop=stop) as (iam, ledger, caller):
        ports = enrollment_ports(settings, iam=iam, ledger=ledger, store=store)
        yield StatusSources(ports, account_source(iam), caller)
