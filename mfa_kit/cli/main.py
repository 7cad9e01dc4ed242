"""The table of all commands, and the entry point. The module of a command is imported when the command is called."""

import gc
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

import click

from mfa_kit import __version__
from mfa_kit.cli import environment, messages
from mfa_kit.cli.messages import GIVEN
from mfa_kit.cli.options import Noun, Row, Rows
from mfa_kit.core.errors import (
    STOPS,
    IntegrityFault,
    InternalError,
    MfaKitError,
    UsageFault,
    innermost,
)
from mfa_kit.core.message import suggest
from mfa_kit.core.stopping import INTERRUPTS

# The commands by name. tests/test_imports.py treats each function that is named here as an import.
COMMANDS: Rows = {
    "lab": Row(
        "Practice without AWS and without hardware.",
        {
            "tour": Row("Take a guided tour of mfa-kit in a new lab.", "mfa_kit.cli.lab:tour"),
            "run": Row("Run a command in a new lab.", "mfa_kit.cli.lab:run"),
            "serve": Row("Serve a lab until Ctrl-C.", "mfa_kit.cli.lab:serve"),
            "card": Row("Connect simulated OATH keys.", "mfa_kit.cli.lab:card"),
            "key": Row("Connect a simulated security key.", "mfa_kit.cli.lab:key"),
            "fido-register": Row("Register a FIDO key in the lab.", "mfa_kit.cli.lab:fido_register"),
        },
        "Practice without AWS, on a local IAM simulator.",
    ),
    "doctor": Row("Check this computer's setup before you start.", "mfa_kit.cli.doctor:doctor"),
    "status": Row("List users and their MFA devices.", "mfa_kit.cli.status:status"),
    "enroll": Row("Give a user an MFA device.", "mfa_kit.cli.enroll:enroll"),
    "verify": Row(
        "Check a key or token, or a user's device.",
        {
            "fido2": Row(
                "Check whether a security key is genuine and suitable.", "mfa_kit.cli.verify.fido2:verify_fido2"
            ),
            "oath": Row("Check whether an OATH key is ready for a user.", "mfa_kit.cli.verify.oath:verify_oath"),
            "token": Row("Check a display token against its seed.", "mfa_kit.cli.verify.token:verify_token"),
            "user": Row("Check whether a key is a user's MFA device.", "mfa_kit.cli.verify.oath:verify_user"),
        },
    ),
    "usage": Row(
        "Read from CloudTrail when devices were last used.",
        {"update": Row("Read when devices were last used.", "mfa_kit.cli.usage_update:update")},
    ),
    "session": Row("Give other programs a session with MFA.", "mfa_kit.cli.session:session"),
    "resync": Row("Resynchronize a device whose clock is off.", "mfa_kit.cli.resync:resync"),
    "replace": Row("Replace a user's MFA device with a new one.", "mfa_kit.cli.replace:replace"),
    "revoke": Row("Remove an MFA device from a user.", "mfa_kit.cli.revoke:revoke"),
    "rollout": Row(
        "Enroll many users from a roster: plan, apply, station, undo.",
        {
            "plan": Row("Compare a roster with IAM, and write a plan.", "mfa_kit.cli.rollout.plan:plan"),
            "apply": Row("Enroll the users of a plan.", "mfa_kit.cli.rollout.apply:apply"),
            "work": Row("Enroll the users of a plan with several processes.", "mfa_kit.cli.rollout.apply:work"),
            "handover": Row("Write each user's encrypted file and letter.", "mfa_kit.cli.rollout.handover:handover"),
            "activate": Row("Enable staged devices.", "mfa_kit.cli.rollout.activate:activate"),
            "station": Row("Enroll users in person, one after another.", "mfa_kit.cli.rollout.station:station"),
            "bench": Row("", "mfa_kit.cli.rollout.station:bench"),
            "post": Row("Write letters for keys by post; record arrivals.", "mfa_kit.cli.rollout.post:post"),
            "status": Row("Show the state of each user of a plan.", "mfa_kit.cli.rollout.status:status"),
            "remind": Row("List the users that the rollout waits for.", "mfa_kit.cli.rollout.remind:remind"),
            "finish": Row("Remove old devices that were replaced.", "mfa_kit.cli.rollout.finish:finish"),
            "undo": Row("Remove the devices that a run created.", "mfa_kit.cli.rollout.undo:undo"),
        },
    ),
    "recipients": Row(
        "Collect the users' public keys for a roster.",
        {
            "fetch": Row("Read public keys from a forge or a file.", "mfa_kit.cli.recipients.fetch:fetch"),
        },
    ),
    "orphans": Row(
        "Explain and remove unassigned devices.",
        {
            "list": Row("List unassigned devices and where they come from.", "mfa_kit.cli.orphans:list_orphans"),
            "clean": Row("Settle interrupted runs; remove old unassigned devices.", "mfa_kit.cli.orphans:clean"),
        },
        "Explain and remove unassigned virtual devices.",
    ),
    "backup": Row(
        "Create, open, check and manage encrypted backups.",
        {
            "add": Row("Encrypt an existing QR code as a backup.", "mfa_kit.cli.backup.add:add"),
            "list": Row("List the backups.", "mfa_kit.cli.backup.list:list_backups"),
            "verify": Row("Check that backups can be decrypted and used.", "mfa_kit.cli.backup.verify:verify"),
            "drill": Row("Test backups against codes of their devices.", "mfa_kit.cli.backup.verify:drill"),
            "restore": Row("Put a backup's secret on another device.", "mfa_kit.cli.backup.restore:restore"),
            "show": Row("Write a backup's QR code to a file, unencrypted.", "mfa_kit.cli.backup.restore:show_backup"),
            "recipients": Row("Show who can decrypt which backup.", "mfa_kit.cli.backup.list:recipients"),
            "rekey": Row("Encrypt all backups to other recipients.", "mfa_kit.cli.backup.rekey:rekey"),
            "exposed": Row(
                "List the devices to replace when a private key is lost.", "mfa_kit.cli.backup.list:exposed"
            ),
            "passphrase": Row("Change the passphrase of an identity.", "mfa_kit.cli.backup.rekey:passphrase"),
            "prune": Row("Remove backups of users who left.", "mfa_kit.cli.backup.rekey:prune"),
        },
    ),
    "break-glass": Row(
        "Recovery keys that only several people can use together.",
        {
            "create": Row("Make an identity for a group of custodians.", "mfa_kit.cli.break_glass:create"),
            "open": Row("Show the QR code of a backup in a meeting.", "mfa_kit.cli.break_glass:open_backup"),
            "pass": Row("Remove your layer of a file; pass on the rest.", "mfa_kit.cli.break_glass:pass_on"),
            "drill": Row("Test in a meeting that all backups open.", "mfa_kit.cli.break_glass:drill"),
            "status": Row("Show the custodians, and which tasks are due.", "mfa_kit.cli.break_glass:status"),
            "rotate": Row("Replace the identity, and re-encrypt its backups.", "mfa_kit.cli.break_glass:rotate"),
            "custodians": Row("Give the same identity to other custodians.", "mfa_kit.cli.break_glass:custodians"),
        },
        "Keep a recovery key that only several custodians can use together.",
    ),
    "key": Row(
        "List and manage the connected keys.",
        {
            "list": Row("List the connected keys.", "mfa_kit.cli.key.list:list_keys"),
            "info": Row("Show the details of one key.", "mfa_kit.cli.key.list:info"),
            "metadata": Row("Show the published metadata of a model.", "mfa_kit.cli.key.list:metadata"),
            "recall": Row("List the users whose keys an advisory names.", "mfa_kit.cli.key.recall:recall"),
            "pin": Row(
                "Set or change a FIDO key's PIN, or its PIN policy.",
                {
                    "set": Row("Set a PIN on a FIDO key that has none.", "mfa_kit.cli.key.pin:set_pin"),
                    "change": Row("Change the PIN of a FIDO key.", "mfa_kit.cli.key.pin:change_pin"),
                    "policy": Row("Set the PIN policy of a FIDO key.", "mfa_kit.cli.key.pin:pin_policy"),
                },
            ),
            "password": Row(
                "Set, change or remove a key's OATH password.",
                {
                    "set": Row("Set an OATH password on a key that has none.", "mfa_kit.cli.key.pin:set_password"),
                    "change": Row("Change a key's OATH password.", "mfa_kit.cli.key.pin:change_password"),
                    "clear": Row("Remove a key's OATH password.", "mfa_kit.cli.key.pin:clear_password"),
                },
            ),
            "reset": Row("Erase a FIDO key: its PIN and all credentials.", "mfa_kit.cli.key.pin:reset"),
        },
    ),
    "token": Row(
        "Import, list and accept display tokens.",
        {
            "import": Row("Read a seed file into the inventory.", "mfa_kit.cli.token:import_tokens"),
            "list": Row("List the inventory.", "mfa_kit.cli.token:list_tokens"),
            "accept": Row("Test a box of tokens.", "mfa_kit.cli.token:accept"),
        },
        text="Display tokens: import their seed files, list them, and test them before you accept them.",
    ),
    "audit": Row("Check the account for MFA problems without changing it.", "mfa_kit.cli.audit:audit"),
    "accounts": Row(
        "Write the accounts of an organization to a file.",
        {"export": Row("Write the accounts of the organization to a file.", "mfa_kit.cli.accounts:export")},
    ),
    "policy": Row(
        "Print, check and try out policies that require MFA.",
        {
            "show": Row("Print a policy that requires MFA.", "mfa_kit.cli.policy.show:show_policy"),
            "explain": Row("Explain the text of a denial by AWS.", "mfa_kit.cli.policy.explain:explain"),
            "lint": Row("Find traps in policies that mention MFA.", "mfa_kit.cli.policy.lint:lint"),
            "lockout": Row("List the users whom a policy would lock out.", "mfa_kit.cli.policy.lockout:lockout"),
            "offboard": Row("Print the commands that end a user's access.", "mfa_kit.cli.policy.onboard:offboard"),
            "onboard": Row("Print the commands that set up MFA safely.", "mfa_kit.cli.policy.onboard:onboard"),
            "org-role": Row("Print the roles for the accounts of an organization.", "mfa_kit.cli.policy.show:org_role"),
        },
        "Print, check and try out policies that require MFA. mfa-kit attaches no policy.",
    ),
    "evidence": Row(
        "Collect evidence of MFA for an auditor.",
        {"export": Row("Write a signed archive of evidence.", "mfa_kit.cli.evidence.export:export_evidence")},
    ),
    "ledger": Row(
        "Show what mfa-kit did; share the ledger.",
        {
            "copy": Row("Copy a computer's ledger to PostgreSQL.", "mfa_kit.cli.ledger:copy_ledger"),
            "export": Row("Print the ledger as JSON Lines.", "mfa_kit.cli.ledger:export"),
            "grants": Row("Print the SQL that gives roles their privileges.", "mfa_kit.cli.ledger:grants"),
            "init": Row("Create the ledger in a PostgreSQL database.", "mfa_kit.cli.ledger:init_ledger"),
            "migrate": Row("Bring the ledger in PostgreSQL up to date.", "mfa_kit.cli.ledger:migrate"),
            "reconcile": Row("Compare the ledger with IAM and the backups.", "mfa_kit.cli.ledger:reconcile_ledger"),
            "show": Row("Show calls to AWS, uses of backups, and runs.", "mfa_kit.cli.ledger:show_ledger"),
            "status": Row("Show the state of the ledger.", "mfa_kit.cli.ledger:ledger_status"),
        },
        "Show what mfa-kit did on this computer, or share the ledger among computers in PostgreSQL.",
    ),
    "udev": Row(
        "Give a group access to security keys on Linux.",
        {
            "install": Row("Install the udev rule and its group.", "mfa_kit.cli.udev:install"),
            "status": Row("Show whether the udev rule works.", "mfa_kit.cli.udev:status"),
            "remove": Row("Remove the udev rule and its group.", "mfa_kit.cli.udev:remove"),
        },
        "Give the members of a group access to security keys on Linux, even without a desktop session.",
    ),
    "config": Row(
        "Print or check the configuration file.",
        {
            "path": Row("Print the path of the configuration file.", "mfa_kit.cli.config:path"),
            "show": Row("Print the configuration.", "mfa_kit.cli.config:show_config"),
            "validate": Row("Check the configuration file.", "mfa_kit.cli.config:validate"),
        },
        "Print or check the configuration file, which contains defaults for options.",
    ),
    "help": Row("Show or find a page of the documentation.", "mfa_kit.cli.help:show_help"),
    "completion": Row("Complete commands in bash, zsh and fish.", "mfa_kit.cli.completion:completion"),
    "man": Row("Write the manual pages.", "mfa_kit.cli.man:man"),
}
CONTEXT = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": environment.PREFIX}
INTERRUPTED = 130
# The number of allocations between two garbage collections. boto3 creates about 100,000 objects that live until exit.
# Collecting every 700 allocations, as Python does by default, would take a sixth of the run time and free nothing.
GARBAGE_AT = 200_000
WIDEST = 80
SURROGATE = re.compile("[\ud800-\udfff]")


class Program(Noun):
    """The program as a click command.

    click would treat each EOFError as Ctrl-D, and each broken pipe as closed output. `invoke` prevents that.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command.

        Raise InternalError in place of an EOFError or OSError, unless that error occurred while writing output.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            if messages.EVENTS.on:  # click would write an empty line to the log
                raise click.Abort from interrupt
            raise
        except (EOFError, OSError) as error:
            if _echoing(error):
                raise
            raise InternalError.of(error) from None


@click.group(cls=Program, rows=COMMANDS, context_settings=CONTEXT)
@click.version_option(__version__, "-V", "--version", message="mfa-kit %(version)s")
def cli() -> None:
    """Enroll and verify MFA devices for AWS IAM users."""


def run(args: list[str] | None = None) -> int:
    """Run a command line and return its exit code. An error is printed on stderr as a message and a hint."""
    arguments = sys.argv[1:] if args is None else args
    messages.EVENTS.on = False
    GIVEN.clear()
    messages.LAST_ERROR.as_json = environment.asks_for_json(arguments, os.environ)
    try:
        _refuse_windows()
        try:
            code = cli.main(args, prog_name="mfa-kit", standalone_mode=False, terminal_width=_width())
        finally:
            INTERRUPTS.end()
    except click.UsageError as error:
        return _misused(error)
    # on Ctrl-C, click raises Abort with the KeyboardInterrupt as its cause, and only the cause has the notes
    except (click.Abort, KeyboardInterrupt) as error:
        notes = getattr(error.__cause__ or error, "__notes__", [])
        report = messages.LAST_ERROR.write_texts
        return report("interrupted", notes=notes, kind="Interrupted", code=None, exit_code=INTERRUPTED)
    except MfaKitError as error:
        return messages.LAST_ERROR.write(error)
    except BaseException as error:  # noqa: BLE001 - every other exception is a bug of mfa-kit, and is reported
        return messages.LAST_ERROR.write(_unforeseen(error, arguments))
    return code if isinstance(code, int) else 0


def _misused(error: click.UsageError) -> int:
    """Report an error of click, and return its exit code. A command line without a command prints the help instead."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and not messages.LAST_ERROR.as_json:
        click.echo(error.message, err=True)
        return error.exit_code
    from mfa_kit.cli import usage

    return messages.LAST_ERROR.write(usage.usage_fault(error))


def _refuse_windows() -> None:
    if sys.platform == "win32":
        raise UsageFault("mfa-kit runs on Windows only in WSL2", "install WSL2 and run mfa-kit there")


def _unforeseen(error: BaseException, args: Sequence[str]) -> MfaKitError:
    """Return the error to report for an exception that no code expected."""
    if isinstance(error, STOPS):
        raise error
    if isinstance(error, UnicodeEncodeError) and any(SURROGATE.search(word) for word in args):
        # Python accepts arguments with bytes that are not UTF-8, and fails only when such an argument is encoded. The
        # mistake is in the command line, so it is not reported as a bug of mfa-kit.
        return UsageFault("a name or an option contains bytes that are not UTF-8", "check its spelling")
    return _unwritten(error) if isinstance(error, OSError) and _echoing(error) else InternalError.of(error)


def _echoing(error: BaseException) -> bool:
    """Return whether click raised this error while it wrote to stdout or stderr."""
    place = innermost(error)
    return place is not None and place.tb_frame.f_code is click.echo.__code__


def _fill() -> None:
    """Open the null device for closed standard streams. Otherwise the next opened file would get their descriptors."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))


def _width() -> int:
    """Return the width of help pages, computed as click does. click's own code imports shutil, which is slow."""
    try:
        columns = int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size().columns
    except (OSError, ValueError):  # stdout is not a terminal, or COLUMNS is not a number
        columns = WIDEST
    return max(min(columns, WIDEST) - 2, 50)


def _unwritten(error: OSError) -> MfaKitError:
    """Return the error to report if click could not write the result, for example on a full disk.

    Errors with all other files are reported by the adapters.
    """
    messages.discard(sys.stdout)
    hint = suggest("see what was done", "ledger show")
    return IntegrityFault(f"the result cannot be written: {error.strerror}", hint)


def _report_unraised(happened: Any) -> None:
    """Report an exception that ended a thread or a callback, instead of the traceback that Python would print.

    `happened` is the argument that Python passes to `threading.excepthook` and `sys.unraisablehook`.
    """
    _report_lost(happened.exc_value)


def _report_lost(error: BaseException | None) -> None:
    if error is not None and not isinstance(error, STOPS):
        messages.print_error(str(InternalError.of(error)), cause=InternalError.__name__)


def main() -> None:
    gc.set_threshold(GARBAGE_AT)
    threading.excepthook = sys.unraisablehook = _report_unraised
    sys.excepthook = lambda _kind, error, _trace: _report_lost(error)  # awscrt calls it for an error in a callback
    heard = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    if heard:
        signal.signal(signal.SIGINT, INTERRUPTS.arrive)
        sys.meta_path.insert(0, INTERRUPTS)  # libraries take up to a second to load
    _fill()
    try:
        code = run()
        if heard:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:  # it arrived while the result or the error was reported
        code = INTERRUPTED
    sys.exit(code)
