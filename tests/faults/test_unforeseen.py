"""Tests of unexpected exceptions: they end the command with 70, or fail their row, and no output quotes them."""

import base64
import fcntl
import io
import json
import os
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, cycle
from pathlib import Path
from typing import Any

import pyotp
import pyrage
import pytest

from mfa_kit.adapters.aws import event_history
from mfa_kit.adapters.ledger.records import DeviceStates
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.cli import terminal
from mfa_kit.core.device_records import DeviceState, RecordedRun, RecordedState
from mfa_kit.core.interaction import Nobody
from mfa_kit.core.models import DeviceSpec
from mfa_kit.enrollment import fido_console
from mfa_kit.lab.aws.log_files import log_files, write_log_files
from mfa_kit.lab.aws.server import Lab
from mfa_kit.rollout.plan_files import plan_digest
from mfa_kit.wiring import browser as console
from mfa_kit.wiring import new_sessions
from tests.conftest import ACCOUNT, COUNTED, MfaKit, Result
from tests.faults.unforeseen import (
    SECRET,
    Place,
    called_places,
    ending,
    incomplete,
    places_of,
    spread,
    without_class,
)
from tests.lab.client import Aws
from tests.sizes import size
from tests.tokens import boxes
from tests.tokens.boxes import Made
from tests.usage.test_events import login

# The places at which nothing is raised, and methods that no class of ours has, by the reason.
NOT_RAISED: dict[str, Sequence[str]] = {
    "only a session of root lists its devices, and the lab has no credentials of root": (
        "AccountSource.own_devices of AccountReader",
    ),
    "a lost device is only removed": (
        *(
            "DeviceBackend.check of LostDevice",
            "DeviceBackend.install of LostDevice",
            "DeviceBackend.codes of LostDevice",
        ),
    ),
    "AWS gives out no seed of a token that it sold": (
        *("DeviceBackend.install of DisplayToken", "DeviceBackend.install of TokenWithCodes"),
    ),
    "a removal of such a device finds the backend with `backend_of_interrupted_run`, which is BackupAlone": (
        *(
            "DeviceBackend.check_reachable of CheckedToken",
            "DeviceBackend.check_reachable of DisplayToken",
            "DeviceBackend.check_reachable of Phone",
        ),
        *("DeviceBackend.check_reachable of ProgrammableToken", "DeviceBackend.check_reachable of TokenWithCodes"),
        *("DeviceBackend.remove of DisplayToken", "DeviceBackend.remove of TokenWithCodes"),
    ),
    "without a terminal, a command ends earlier, at check, confirm or ask_code": (
        *("Interaction.ask_new_secret of Nobody", "Interaction.ask_secret of Nobody", "Interaction.choose of Nobody"),
        *("Interaction.ask_unless of Nobody", "Interaction.clear of Nobody", "Interaction.pause of Nobody"),
        *("Interaction.say of Nobody", "Interaction.show of Nobody"),
    ),
    "it is used if stderr is a terminal, and prints what StderrProgress prints": (
        *("Progress.alert of StatusLine", "LiveProgress.showing of StatusLine"),
    ),
    "it is a field of a dataclass": ("EventFile.name", "NewLetter.path"),
    "tests/oath raises at it, because only a key computes codes of one's own device": ("IamReader.accepts of Iam",),
    "functions implement it, and call the ports at which this test raises": (
        *("Ask.__call__", "ConsecutiveCodes.__call__", "Make.__call__", "MapEach.__call__", "Retry.__call__"),
        *("CallPolicy.__call__", "AskOrganizations.__call__", "Attempts.__call__", "RunEach.__call__"),
        *("AskService.__call__", "AwaitKey.__call__", "EnterAccount.__call__", "RecordSealed.__call__"),
    ),
    "only commands for many accounts use it, in the threads of Organization.each; what fails there is a result": (
        *("AccountFolders.began of FoldersOnDisk", "AccountFolders.begin of FoldersOnDisk"),
        *("AccountFolders.snapshot of FoldersOnDisk", "AccountFolders.write of FoldersOnDisk"),
        *("AccountFolders.write_file of FoldersOnDisk", "LiveProgress.showing of AccountProgress"),
        "Progress.alert of AccountProgress",
        *("RosterAccounts.find of ChosenAccounts", "RosterAccounts.key of ChosenAccounts"),
    ),
    "it reads an organization, which the account of this test is not in": (
        *("ControlSource.policies of OrganizationReader", "ControlSource.policy of OrganizationReader"),
        "ControlSource.units of OrganizationReader",
    ),
    "only commands for many accounts use it, and `work` has SharedTurns instead": ("AccountScheduler.waits_for",),
    "the commands of this test use the file; tests/faults/test_lost_session.py breaks the sessions of the other": (
        *("Database.check of PostgresqlDatabase", "Database.close of PostgresqlDatabase"),
        *("Database.faults of PostgresqlDatabase", "Database.hold of PostgresqlDatabase"),
        *("Database.left_held of PostgresqlDatabase", "Database.without_fsync of PostgresqlDatabase"),
        *("Database.holds of PostgresqlDatabase", "Database.workers of PostgresqlDatabase"),
        *("Database.log of PostgresqlDatabase", "Database.release of PostgresqlDatabase"),
        *("Database.select of PostgresqlDatabase", "Database.try_to_hold of PostgresqlDatabase"),
        *("Database.read of PostgresqlDatabase", "Database.write of PostgresqlDatabase"),
    ),
    "only places in a bucket use it; tests/adapters/test_s3.py makes its calls fail": (
        *("FileStore.file of S3FileStore", "FileStore.folder of S3FileStore"),
        *("StoredFile.create of S3File", "StoredFile.discard of S3File", "StoredFile.is_taken of S3File"),
        *("StoredFile.is_there of S3File", "StoredFile.read of S3File", "StoredFile.remove of S3File"),
        *("StoredFile.replace of S3File", "StoredFolder.exclusively of S3Folder", "StoredFolder.check of S3Folder"),
        *("StoredFolder.files of S3Folder", "StoredFolder.is_there of S3Folder"),
    ),
    "the commands here use the default folder, whose existence is not checked, and prune has nothing to remove": (
        *("StoredFolder.is_there of LocalFolder", "StoredFile.discard of LocalFile"),
    ),
    "a letter is no picture of a QR code, although its file is written and removed in the same way": (
        *("QrFile.write of LetterFile", "NewLetter.remove of LetterFile"),
    ),
    "only a station with profiles or pairs uses it; tests/fido/test_unforeseen.py raises at it": (
        *("PinFile.exists", "PinFile.keep", "PinFile.name", "PinFile.remove", "PinFile.seal"),
        *("StationMethods.find_same_key of RowMethods", "StationMethods.has_card of RowMethods"),
    ),
    "the answer of methods without security keys, which reads nothing": (
        *("Options.find_same_device of Options", "Options.has_card of Options"),
    ),
    "without a terminal, `session` prints nothing; tests/oath/test_sessions.py interrupts it at one": (
        *("LiveProgress.showing of TerminalProgress", "Progress.alert of TerminalProgress"),
        "Progress.note of TerminalProgress",
    ),
    "an age plugin asks through it; tests/backups/test_age_plugins.py raises at it": (
        *("Prompts.ask of TerminalPrompts", "Prompts.ask_secret of TerminalPrompts"),
        *("Prompts.confirm of TerminalPrompts", "Prompts.say of TerminalPrompts"),
        *("Prompts.ask of Unattended", "Prompts.ask_secret of Unattended"),
        *("Prompts.confirm of Unattended", "Prompts.say of Unattended"),
    ),
    "only workers with --log json use it, and it writes no text of an exception; tests/rollout/test_event_log.py": (
        *("LiveProgress.showing of EventLog", "Progress.alert of EventLog", "Progress.note of EventLog"),
    ),
    "only commands with --page use it; tests/page raises at it, or asks the same questions of a station": (
        "Views.entrance of PageViews",
        *("Interaction.ask_code of PersonAtPage", "Interaction.ask_new_secret of PersonAtPage"),
        *("Interaction.ask_secret of PersonAtPage", "Interaction.ask_unless of PersonAtPage"),
        *("Interaction.check of PersonAtPage", "Interaction.choose of PersonAtPage"),
        *("Interaction.clear of PersonAtPage", "Interaction.confirm of PersonAtPage"),
        *("Interaction.pause of PersonAtPage", "Interaction.say of PersonAtPage"),
        *("Interaction.show of PersonAtPage", "LiveProgress.showing of PageProgress"),
        *("Progress.alert of PageProgress", "Progress.note of PageProgress"),
        *("Views.act of PageViews", "Views.document of PageViews", "Views.ended of PageViews"),
        *("Views.parts of PageViews", "Views.refused of PageViews", "Views.reopened of PageViews"),
        *("Views.roles of PageViews", "Views.windows of PageViews"),
    ),
    "pyscard implements it": (
        *("CardConnection.connect", "CardConnection.disconnect", "CardConnection.release", "CardConnection.transmit"),
        "PcscReader.createConnection",
    ),
    "it is inside the lab, which has no secret of an account": (
        *("FaultyCall.act", "FaultyCall.act_later", "FaultyCall.deny", "FaultyCall.refuse", "PacketWire.receive"),
        *("Membership.control_policies", "Membership.is_open", "Membership.path"),
        *(
            "Membership.organization_id",
            "PacketWire.send",
            "SimulatedCard.answer",
            "SimulatedCard.power",
            "Touch.ready",
            "Touch.wait",
        ),
    ),
}
# Commands that process rows: one row fails, and the others go on.
ROWS = {"apply", "stage", "work", "work in accounts", "activate", "undo", "finish", "station"}
# Each chunk that runs in a process of its own calls all commands once more.
CHUNKS = size(1, 10)
TOKENS = [Made("10001002"), Made("10001003")]
SOLD = count(1)
ADMINISTRATOR = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
)


@dataclass
class Stage:
    """A desk with its own folder and its own users."""

    desk: MfaKit
    lab: Lab
    users: Callable[[], str]
    folder: Path
    recipient: str
    identity: Path
    at_terminal: Callable[..., None]
    patch: pytest.MonkeyPatch

    def user(self, name: str) -> Any:
        """Return the lab's record of a user."""
        return self.lab.account.backend.get_user(name)

    def ok(self, *words: str | Path) -> Result:
        done = self.desk.run(*words)
        assert done.code == 0, (words, done)
        return done

    def enrolled(self) -> str:
        user = self.users()
        self.ok("enroll", user, *VIRTUAL, "-r", self.recipient)
        return user

    def planned(self, *more: str) -> Path:
        roster, plan = self.folder / "roster.csv", self.folder / "plan.json"
        roster.write_text("user,recipient\n" + "".join(f"{self.users()},{self.recipient}\n" for _ in range(3)))
        self.ok("rollout", "plan", roster, "-o", plan, *more)
        return plan

    def applied(self, *more: str) -> str:
        done = self.ok("rollout", "apply", self.planned(), "-r", self.recipient, "--output", "jsonl", *more)
        return str(json.loads(done.out.splitlines()[0])["run"])

    def policy(self) -> Path:
        file = self.folder / "policy.json"
        file.write_text(self.ok("policy", "show").out)
        return file

    def readings(self) -> Path:
        file = self.folder / "readings.csv"
        file.write_text("serial,code\n" + "".join(f"{token.serial},123456\n" for token in TOKENS))
        return file

    def box(self) -> Path:
        file = self.folder / "box.csv"
        file.write_bytes(boxes.entra(TOKENS))
        return file


VIRTUAL = ("--with", "virtual", "--codes", "generated")
Words = tuple[str | Path, ...]


def _answered(stage: Stage, words: Words, *lines: str) -> Words:
    stage.at_terminal(*lines)
    return words


def _session(stage: Stage, *more: str) -> Words:
    """Get a session. The user types a right code."""
    user, config = stage.enrolled(), stage.folder / "config"
    serial = f"arn:aws:iam::{ACCOUNT}:mfa/{user}"
    key = stage.lab.account.backend.create_access_key(user)
    config.write_text(
        f"[profile {user}]\naws_access_key_id = {key.access_key_id}\nmfa_serial = {serial}\n"
        f"aws_secret_access_key = {key.secret_access_key}\n"
    )
    stage.patch.setenv("AWS_CONFIG_FILE", str(config))
    stage.patch.setattr(stage.lab.account, "settings", replace(stage.lab.account.settings, propagation=0))
    totp = pyotp.TOTP(base64.b32encode(stage.lab.seed(serial)).decode())
    stage.patch.setattr(new_sessions, "_ask_code", lambda *_: totp.now())
    return ("session", "--profile", user, *more)


def _protected(stage: Stage) -> Words:
    """Verify a backup whose identity a passphrase protects."""
    user = stage.users()
    stage.at_terminal("1", *["a long passphrase"] * 3)
    stage.ok("enroll", user, *VIRTUAL, "--passphrase")
    stage.at_terminal("a long passphrase")
    (identity,) = (stage.folder / "desk").glob("identity-*.age")
    return ("backup", "verify", "--all", "-i", identity)


def _exchanged(stage: Stage) -> Words:
    """Finish the exchange of three phones that mfa-kit did not make. The new devices are proven."""
    plan, users = stage.folder / "plan.json", [stage.users() for _ in range(3)]
    aws = Aws(stage.lab, (stage.lab.admin.access_key_id, stage.lab.admin.secret_access_key, None))
    for user in users:
        aws.enrolled(user)
    roster = stage.folder / "roster.csv"
    roster.write_text("user,recipient,action\n" + "".join(f"{user},{stage.recipient},replace\n" for user in users))
    stage.ok("rollout", "plan", roster, "-o", plan)
    stage.ok("rollout", "apply", plan, "-r", stage.recipient)
    run = RecordedRun(id="20261130T120000Z-0123abcd", plan=plan_digest(plan.read_text()), computer="desk-7")
    proven = RecordedState(run=run, at=time.time(), serial="", user="", state=DeviceState.PROVEN, how="two codes")
    states = [replace(proven, serial=f"arn:aws:iam::{ACCOUNT}:mfa/{user}-key", user=user) for user in users]
    with sqlite_ledger(stage.folder / "desk") as ledger:
        DeviceStates(ledger).record(*states)
    return ("rollout", "finish", plan)


def _queue(stage: Stage) -> Words:
    plan = stage.planned()
    stage.at_terminal("", "s", "q")
    return ("rollout", "station", plan, "--with", "virtual", "-r", stage.recipient)


def _administrator(stage: Stage) -> Words:
    """Audit an account in which an administrator has a security key."""
    user = stage.users()
    stage.user(user).policies["all"] = ADMINISTRATOR
    stage.lab.register_fido(user, user)
    return ("audit", "--rule", "admins")


def _sessions(stage: Stage) -> Words:
    """Audit an account with a server certificate, and read how long a user's sign-in session may last."""
    user = stage.user(stage.users())
    user.password, user.password_changed = "set", user.create_date
    stage.lab.account.backend.upload_server_certificate("web", "body", "key")
    return ("audit", "--max-session", "12h")


def _new_password(stage: Stage) -> Words:
    """Try a policy on a user who has never signed in."""
    user = stage.user(stage.users())
    user.password, user.password_reset_required, user.password_changed = "set", True, user.create_date
    return ("policy", "lockout", "--policy", stage.policy())


def _usage(stage: Stage, *, files: bool) -> Words:
    """Read the uses of devices, from log files or from the history of events."""
    stage.patch.setattr(event_history, "SECONDS", 0.0)
    sign_in = login(userIdentity={"type": "IAMUser", "accountId": ACCOUNT, "userName": "alice"})
    write_log_files(stage.folder / "trail", log_files([sign_in], organization="o-lab0000000"))
    return ("usage", "update", *(("--cloudtrail", stage.folder / "trail") if files else ()))


def _with_key(stage: Stage) -> Words:
    user = stage.users()
    stage.lab.register_fido(user, user)
    return ("status", user)


def _sold(stage: Stage) -> Words:
    """Let AWS check the codes of a token whose seed only AWS has."""
    token = Made(f"GAHT5{next(SOLD):07}")
    seed = base64.b32encode(token.octets).decode()
    stage.lab.add_token(token.serial, seed)
    codes = [pyotp.TOTP(seed).at(int(time.time()), counter_offset=offset) for offset in (-1, 0)]
    stage.patch.setattr("sys.stdin", io.StringIO("\n".join(codes) + "\n"))
    return ("verify", "token", token.serial, "--codes-stdin", "--probe-user", stage.users())


def _picture(stage: Stage) -> Words:
    """Encrypt the picture of a QR code, for which a person types a code."""
    user = stage.enrolled()
    (backup,) = (stage.folder / "desk").rglob("*.png.age")
    picture = stage.folder / "qr.png"
    stage.ok("backup", "show", backup, "-i", stage.identity, "-o", picture)
    backup.unlink()
    (serial,) = (each for each in stage.lab.serials() if stage.lab.assigned(each) == user)
    stage.at_terminal(pyotp.TOTP(base64.b32encode(stage.lab.seed(serial)).decode()).now())
    return ("backup", "add", user, "--image", picture, "-r", stage.recipient)


def _rekeyed(stage: Stage, *, recorded: bool) -> Words:
    """Re-encrypt backups that only the new identity decrypts, with or without a record of the new identity."""
    stage.enrolled()
    other = stage.folder / "other.txt"
    other.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    if not recorded:
        for file in (stage.folder / "desk").glob("ledger.sqlite*"):
            file.unlink()
    return ("backup", "rekey", "-i", other, "-i", stage.identity, "-r", stage.recipient)


def _to_another(stage: Stage) -> Words:
    stage.enrolled()
    return (
        "backup",
        "rekey",
        "--unproven",
        "-i",
        stage.identity,
        "-r",
        str(pyrage.x25519.Identity.generate().to_public()),
    )


def _recovery_key(stage: Stage, verb: str) -> Words:
    """Hold a meeting about a backup that is encrypted to a break-glass identity of one custodian."""
    made = stage.ok(*_create_recovery_key(stage), "--output", "json")
    recipient, user = json.loads(made.out)["recipient"], stage.users()
    backup = json.loads(stage.ok("enroll", user, *VIRTUAL, "-r", recipient, "--output", "json").out)["backup"]
    if verb != "open":
        return ("break-glass", verb, "-i", stage.identity)
    return _answered(stage, ("break-glass", "open", "--backup", backup), str(stage.identity), "")


def _create_recovery_key(stage: Stage) -> Words:
    return ("break-glass", "create", "--threshold", "1", "--custodian", f"a={stage.recipient}")


def _in_console(stage: Stage) -> Words:
    """Open the console, in which the user then registers a key."""
    real, user = console.open_console_page, stage.users()

    def page(spec: DeviceSpec, **how: Any) -> object:
        stage.lab.register_fido(user, user)
        return real(spec, **how)

    stage.patch.setattr(console, "open_console_page", page)
    stage.patch.setattr(fido_console, "PACE", 0.05)
    stage.patch.setattr("webbrowser.open", lambda _: True)
    return ("enroll", user, "--with", "fido2", "--skip-key-check", "--open")


def _recorded(stage: Stage) -> Words:
    stage.applied()
    for path in stage.desk.home.glob("ledger.sqlite*"):
        path.unlink()
    return ("ledger", "reconcile", "--adopt", "--record", stage.folder / "plan-results")


def _unassigned(stage: Stage) -> Words:
    stage.applied("--stage")
    return ("orphans", "list")


def _work_in_accounts(stage: Stage) -> Words:
    """Work on a plan of the caller's own account as on those of several accounts."""
    file = stage.folder / "accounts.yml"
    role = f"arn:aws:iam::{ACCOUNT}:role/unused"
    file.write_text(f"accounts:\n- account_id: '{ACCOUNT}'\n  name: own\n  role: {role}\n")
    return ("rollout", "work", stage.planned(), "--accounts", file, "-r", stage.recipient)


SCENARIOS: dict[str, Callable[[Stage], Words]] = {
    "enroll": lambda at: ("enroll", at.users(), *VIRTUAL, "-r", at.recipient),
    "status of one": lambda at: ("status", at.enrolled()),
    "replace": lambda at: ("replace", at.enrolled(), *VIRTUAL, "-r", at.recipient, "--yes"),
    "revoke": lambda at: ("revoke", at.enrolled(), "--yes", "--leave-without-mfa"),
    "orphans": _unassigned,
    "session of an hour": lambda at: _session(at, "--duration", "1h"),
    "session of a role": lambda at: _session(at, "--role-arn", f"arn:aws:iam::{ACCOUNT}:role/none"),
    "plan": lambda at: ("rollout", "plan", at.planned().with_name("roster.csv"), "-o", at.folder / "again.json"),
    "apply": lambda at: ("rollout", "apply", at.planned(), "-r", at.recipient),
    "work": lambda at: ("rollout", "work", at.planned(), "-r", at.recipient),
    "work in accounts": _work_in_accounts,
    "watch": lambda at: (at.applied(), ("rollout", "status", at.folder / "plan.json", "--watch"))[1],
    "stage": lambda at: ("rollout", "apply", at.planned(), "-r", at.recipient, "--stage"),
    "activate": lambda at: (at.applied("--stage"), ("rollout", "activate", "-i", at.identity))[1],
    "undo": lambda at: ("rollout", "undo", at.applied(), "--yes", "--leave-without-mfa"),
    "finish": _exchanged,
    "rollout status": lambda at: (at.applied(), ("rollout", "status", at.folder / "plan.json"))[1],
    "reconcile": lambda at: (at.enrolled(), ("ledger", "reconcile"))[1],
    "reconcile and adopt": _recorded,
    "audit": lambda at: (at.enrolled(), ("audit",))[1],
    "key recall": lambda at: (at.enrolled(), ("key", "recall", "--roster", at.folder / "roster.csv"))[1],
    "token import": lambda at: ("token", "import", at.box()),
    "token list": lambda at: (at.ok("token", "import", at.box()), ("token", "list"))[1],
    "backup list": lambda at: (at.enrolled(), ("backup", "list"))[1],
    "backup recipients": lambda at: (at.enrolled(), ("backup", "recipients"))[1],
    "backup verify": lambda at: (at.enrolled(), ("backup", "verify", "--all", "-i", at.identity))[1],
    "backup exposed": lambda at: (at.enrolled(), ("backup", "exposed", "-r", at.recipient))[1],
    "backup rekey": _to_another,
    "rekey again": lambda at: _rekeyed(at, recorded=True),
    "rekey without a record": lambda at: _rekeyed(at, recorded=False),
    "backup add": _picture,
    "break-glass create": _create_recovery_key,
    "break-glass create with letters": lambda at: _answered(
        at, ("break-glass", "create", "--threshold", "1", "--custodian", "a", "--letters", at.folder), "yes"
    ),
    "break-glass drill": lambda at: _recovery_key(at, "drill"),
    "break-glass rotate": lambda at: _recovery_key(at, "rotate"),
    "break-glass open": lambda at: _recovery_key(at, "open"),
    "backup prune": lambda at: (at.enrolled(), ("backup", "prune"))[1],
    "audit of an administrator": _administrator,
    "audit of sessions": _sessions,
    "uses in the history": lambda at: _usage(at, files=False),
    "uses in files": lambda at: _usage(at, files=True),
    "status of a key": _with_key,
    "token that AWS checks": _sold,
    "console page": _in_console,
    "codes of a display token": lambda at: _answered(
        at, ("enroll", at.users(), "--with", "hardware-totp", "--serial", "GAHT12345678"), "123456", "654321"
    ),
    "phone": lambda at: ("enroll", at.users(), "--with", "virtual"),
    "question": lambda at: ("revoke", at.enrolled(), "--leave-without-mfa"),
    "resync": lambda at: ("resync", at.enrolled()),
    "lockout": _new_password,
    "token accept": lambda at: ("token", "accept", at.box(), "--readings", at.readings()),
    "ledger": lambda at: (at.enrolled(), ("ledger", "show"))[1],
    "lost": lambda at: ("replace", at.enrolled(), *VIRTUAL, "-r", at.recipient, "--yes", "--lost"),
    "doctor": lambda _: ("doctor",),
    "root": lambda _: ("enroll", "--root", "--with", "fido2"),
    "console": lambda at: ("enroll", at.users(), "--with", "fido2", "--skip-key-check", "--dry-run"),
    "display token": lambda at: ("enroll", at.users(), "--with", "hardware-totp", "--serial", "GAHT12345678"),
    "QR code": lambda at: _answered(at, ("enroll", at.users(), "--with", "virtual"), "000000"),
    "QR code in a file": lambda at: _answered(
        at, ("enroll", at.users(), "--with", "virtual", "--qr-file", at.folder / "qr.png"), "yes", "000000"
    ),
    "confirmation": lambda at: _answered(at, ("revoke", at.enrolled(), "--leave-without-mfa"), "no"),
    "new passphrase": lambda at: _answered(
        at, ("enroll", at.users(), *VIRTUAL, "--passphrase"), "1", *["a long one"] * 2
    ),
    "passphrase made": lambda at: _answered(at, ("enroll", at.users(), *VIRTUAL, "--passphrase"), "2", ""),
    "passphrase": _protected,
    "programmable token": lambda at: _answered(
        at, ("enroll", at.users(), "--with", "programmable", "--serial", "8650012345", "--capacity", "63"), ""
    ),
    "station": _queue,
}


@pytest.fixture
def at_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that opens a terminal on which a person types these lines, and then Ctrl-C."""
    outer, inner = os.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 120, 0, 0))
    reader = threading.Thread(target=_drain, args=(outer,), daemon=True)
    reader.start()
    lines: list[str] = []

    def line(*_: object, **__: object) -> str:
        if not lines:
            raise KeyboardInterrupt
        return lines.pop(0)

    def at(*said: str) -> None:
        lines[:] = said
        person = terminal.Terminal(inner, plain=False)
        monkeypatch.setattr(terminal, "find_person", lambda **_: person)

    monkeypatch.setattr(terminal.Terminal, "_line", line)
    yield at
    os.close(inner)


def _drain(outer: int) -> None:
    """Read the output of a terminal until all descriptors of it are closed."""
    try:
        while os.read(outer, 65536):
            pass
    except OSError:
        os.close(outer)


@pytest.fixture
def stages(
    lab: Lab,
    users: Callable[[], str],
    tmp_path: Path,
    recipient: str,
    identity_file: Path,
    at_terminal: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], Stage]:
    """Return a function that makes a stage, and points this process at its folder."""
    numbers = count()

    def make() -> Stage:
        folder = tmp_path / f"stage-{next(numbers)}"
        folder.mkdir()
        monkeypatch.setenv("MFA_KIT_HOME", str(folder / "desk"))
        monkeypatch.setattr(terminal, "find_person", lambda **_: Nobody("there is no terminal"))
        return Stage(MfaKit(folder / "desk"), lab, users, folder, recipient, identity_file, at_terminal, monkeypatch)

    return make


@pytest.fixture(scope="module")
def known() -> dict[str, list[tuple[str, Place]]]:
    """Return a cache of the places that each command calls, for all tests of this module."""
    return {}


def pairs_of(stages: Callable[[], Stage], known: dict[str, list[tuple[str, Place]]]) -> list[tuple[str, Place]]:
    """Return each command with each place of the ports that it calls."""
    if "all" not in known:
        everywhere = places_of("faults")
        found: list[tuple[str, Place]] = []
        for name, prepare in SCENARIOS.items():
            stage = stages()
            words = prepare(stage)
            found += [(name, place) for place in called_places(everywhere, lambda: stage.desk.run(*words))]  # noqa: B023
        known["all"] = found
    return known["all"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_an_unexpected_exception_is_reported_without_its_text(
    chunk: int,
    stages: Callable[[], Stage],
    known: dict[str, list[tuple[str, Place]]],
    capfd: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    """Each class of Python's exceptions is raised at each method of the ports that a command calls: 300 in a full run.

    Every other one is reported as JSON.
    A method of a port that no command here calls must be listed with the reason, or the test fails.
    """
    pairs = pairs_of(stages, known)
    found = {*map(str, places_of("faults")), *without_class()}
    assert incomplete(found, {str(place) for _, place in pairs}, NOT_RAISED) == []
    mine = spread(size(10, 300), pairs)[chunk::CHUNKS]
    wrong: list[str] = []
    for (name, place, error), form in zip(mine, cycle(("table", "json")), strict=False):
        stage = stages()
        many = form == "json" and name == "watch"
        words = ("--output", "jsonl" if many else form, *SCENARIOS[name](stage))
        if flaw := ending(place, error, lambda: stage.desk.run(*words), stage.folder, rows=name in ROWS):  # noqa: B023
            wrong.append(f"{name}: {flaw}")
    assert SECRET not in "".join(capfd.readouterr())
    assert wrong == []
    record_property(COUNTED, ("exceptions that nothing foresaw", len(mine)))
