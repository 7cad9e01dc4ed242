"""Opens the ports of a rollout, and reads and writes rosters, plans and results."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.adapters.files import rollout_files
from mfa_kit.adapters.ledger.computers import Computers
from mfa_kit.adapters.ledger.failures import Failures
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Progress
from mfa_kit.core.models import Caller
from mfa_kit.core.stopping import Stop
from mfa_kit.enrollment.backup_alone import BackupAlone
from mfa_kit.enrollment.pacing import InTurn, Pace
from mfa_kit.enrollment.ports import Desk, Vault
from mfa_kit.rollout.execution import Execution
from mfa_kit.rollout.outcomes import RowOutcome, RowResult
from mfa_kit.rollout.plan import Plan
from mfa_kit.rollout.plan_file import CREATE, is_index, parse_plan, plan_digest
from mfa_kit.rollout.proof_lines import read_proofs
from mfa_kit.rollout.proofs import ProofLine
from mfa_kit.rollout.roster import Roster, parse_roster
from mfa_kit.wiring.aws import connect
from mfa_kit.wiring.desk_assembly import assemble_desk
from mfa_kit.wiring.methods.recipe import Methods
from mfa_kit.wiring.oath_keys import OathKeys
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.vault import read_recipients

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.account import AccountReader
    from mfa_kit.adapters.aws.iam import Iam
    from mfa_kit.adapters.aws.people import People
    from mfa_kit.adapters.ledger.ledger import Ledger
    from mfa_kit.rollout.roster_accounts import RosterAccounts

# One worker is added per this many workers, so that encryption does not slow down the calls.
ENCRYPTING = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPorts:
    """The ports of a command that processes many users. `pace` limits the rate of all AWS calls of `desk`."""

    desk: Desk
    caller: Caller
    people: "People"
    account: "AccountReader"
    pace: Pace
    ledger: "Ledger"

    def failures(self, digest: str) -> Failures:
        """Return the ledger's records of a plan's failures. `digest` is the SHA-256 of the plan's file in hex."""
        return Failures(self.ledger, plan=digest)

    @property
    def shared(self) -> bool:
        """Whether several computers share the ledger."""
        return self.ledger.shared

    def with_computers(self, results: Sequence[RowResult], digest: str) -> list[RowResult]:
        """Return the results of a plan, each with the computer that the shared ledger has for it.

        `digest` is the SHA-256 of the plan's file in hex. Without a shared ledger, return the results unchanged.
        """
        computers = Computers(self.ledger)
        made, failed = computers.of_devices({each.run for each in results if each.run}), computers.of_failures(digest)
        return [
            replace(
                each,
                computer=failed.get(each.user)
                if each.outcome is RowOutcome.FAILED
                else made.get((each.run or "", each.device or "")),
            )
            for each in results
        ]

    def execution(self, *, workers: int, max_failures: int | None = None) -> Execution:
        """Return an Execution with `workers` threads, plus some threads that encrypt while others wait for AWS.

        It stops when more than `max_failures` users have failed.
        """
        return Execution(
            virtual=self.account.virtual,
            carrier=lambda: BackupAlone(self.desk.inventory.now),
            stop=threading.Event(),
            workers=workers + workers // ENCRYPTING,
            max_failures=max_failures,
        )


@contextmanager
def open_rollout(
    settings: Settings,
    methods: Methods,
    *,
    vault: Vault,
    workers: int,
    progress: Progress,
    oath_keys: OathKeys | None = None,
) -> Iterator[RolloutPorts]:
    """Open AWS and the ledger, and yield the ports of a rollout in one account.

    One Pace limits the rate of all AWS calls. Up to `workers` calls are in progress at a time. Raise the errors of
    `connect`.
    """
    stop = Stop()
    pace = new_pace(lambda: iam.renew(caller.account), workers=workers, progress=progress, stop=stop)
    with connect(settings, workers=workers, turn=pace, stop=stop) as (iam, ledger, caller):
        yield assemble_ports(
            settings,
            methods,
            iam=iam,
            caller=caller,
            ledger=ledger,
            vault=vault,
            pace=pace,
            oath_keys=oath_keys,
            progress=progress,
            sleep=stop.sleep,
        )


def new_pace(
    renew: Callable[[], object],
    *,
    workers: int,
    progress: Progress,
    stop: Stop,
    sleep: Callable[[float], None] | None = None,
) -> Pace:
    """Return a Pace, which limits the rate of the AWS calls in one account.

    Up to `workers` calls are in progress at a time. `renew` looks for new credentials after the old ones have expired.
    `break_off` of the Pace sets `stop`, which ends all pauses. `sleep` waits for a number of seconds; its default is
    `stop.sleep`.
    """
    return Pace(
        clock=time.monotonic,
        sleep=sleep or stop.sleep,
        progress=progress,
        renew=renew,
        at_once=workers,
        on_break=stop.set,
    )


def assemble_ports(
    settings: Settings,
    methods: Methods,
    *,
    iam: "Iam",
    caller: Caller,
    ledger: "Ledger",
    vault: Vault,
    pace: Pace,
    progress: Progress,
    sleep: Callable[[float], None],
    oath_keys: OathKeys | None = None,
) -> RolloutPorts:
    """Return the ports of a rollout in one account. `pace` must also be the `turn` of `iam`, to limit its read calls.

    `sleep` waits for a number of seconds.
    """
    from mfa_kit.adapters.aws.account import AccountReader
    from mfa_kit.adapters.aws.people import People

    desk = assemble_desk(
        settings,
        methods,
        inventory=iam,
        registrar=InTurn(iam, pace),
        vault=vault,
        ledger=ledger,
        sleep=sleep,
        oath_keys=oath_keys,
        progress=progress,
    )
    return RolloutPorts(
        desk=desk,
        caller=caller,
        people=People(iam.ask),
        account=AccountReader(iam.ask, now=iam.now),
        pace=pace,
        ledger=ledger,
    )


def parse_public_key(text: str) -> str:
    """Return a public key without its comment. Raise UsageFault if the text is not a public key.

    The message does not quote the text, because the text may be a private key.
    """
    key = " ".join(text.split()[:2]) if text.startswith("ssh-") else text
    try:
        read_recipients([key])
    except UsageFault as error:
        what = "it is not a public key" if text in str(error) or key in str(error) else str(error)
        raise UsageFault(what, error.hint) from None
    return key


def read_roster(path: Path, methods: Methods, *, accounts: "RosterAccounts | None" = None) -> Roster:
    """Read a roster file (the list of users to enroll), for one account or for several `accounts`.

    Raise UsageFault if the file is not a roster.
    """
    text = rollout_files.read_text(path)
    return parse_roster(text, methods=methods.in_rosters(), parse_key=parse_public_key, accounts=accounts)


def read_lines(path: Path) -> list[ProofLine]:
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
            "add --accounts FILE or --org, or give the plan of one account",
        )
    return plan_of(text, methods, name=str(path)), digest


def plan_of(text: str, methods: Methods, *, name: str) -> Plan:
    """Parse a plan. If the text is not a plan, raise UsageFault with a message that begins with `name`."""
    return parse_plan(text, methods=methods.in_rosters(), parse_key=parse_public_key, name=name)


def read_reviewed(path: Path, *, expected: Sequence[str], what: str = "plan", hint: str = CREATE) -> tuple[str, str]:
    """Return the text of a file and its SHA-256 in hex.

    Raise UsageFault if the file cannot be read (with the hint `hint`), or if `expected` is not empty and does not
    contain this SHA-256. `what` names the kind of file in the error.
    """
    text = rollout_files.read_text(path, hint=hint)
    digest = plan_digest(text)
    if expected and digest not in {each.lower() for each in expected}:
        raise UsageFault(f"{path} is not the expected {what}: its SHA-256 is {digest}", f"review the {what} again")
    return text, digest


def open_results_folder(named: Path | None, plan: Path) -> Path:
    """Create the folder for results if it does not exist, and return it. Its default path is beside the plan.

    Raise UsageFault if that fails, or if the folder has the results of another plan.
    """
    folder = results_folder(named, plan)
    check_results(folder, plan)
    rollout_files.make_results_folder(folder)
    return folder


def results_folder(named: Path | None, plan: Path) -> Path:
    """Return `named`, or if it is None, the default folder for results, which is beside the plan or index."""
    return named or plan.with_name(f"{plan.stem}-results")


def check_results(folder: Path, plan: Path) -> None:
    """Raise UsageFault if the folder has results of another plan or index: its file name is not that of `plan`."""
    rollout_files.check_results(folder, plan=plan.name)


def write_files(folder: Path, texts: Mapping[str, str]) -> None:
    """Write each text to the file with its name, as `write_file` does."""
    for name, text in texts.items():
        write_file(folder / name, text)


def write_file(path: Path, text: str) -> None:
    """Write a whole file with mode 0600, replacing an earlier file. Raise UsageFault or IntegrityFault on failure."""
    rollout_files.write_text(path, text)
