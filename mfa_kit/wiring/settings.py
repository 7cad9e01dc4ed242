"""The settings of a command: the command line, the configuration file in TOML, and what this installation has.

The configuration file has defaults for options. It names the recipients to which secrets are encrypted, so mfa-kit
refuses a file that another user can change. mfa-kit does not look for this file in the working directory.
"""

import gc
import os
import stat
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.interaction import Interaction, LiveProgress
from mfa_kit.core.message import Command, Message, command, suggest
from mfa_kit.core.models import ACCOUNT_ID, BackupLocation, parse_location
from mfa_kit.core.stopping import Stop
from mfa_kit.posix.open_files import NO_WAIT
from mfa_kit.posix.processes import harden as harden  # noqa: PLC0414 - other modules import it from here

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.clients import Clients, Connection
    from mfa_kit.security_keys.profile import KeyProfile

# The person who answers the questions of age plugins, or None if the command did not create a Settings object.
person_at_terminal: ContextVar[Interaction | None] = ContextVar("person_at_terminal", default=None)
# The accounts of the credentials by AWS profile, as far as this process has asked AWS. None is boto3's default profile.
ACCOUNTS: dict[str | None, str] = {}
CONFIG_NAME = "config.toml"
# The start of an age identity (a private key). mfa-kit refuses a configuration file that contains an identity, because
# `config show` and errors would print the identity.
IDENTITY = b"AGE-SECRET-KEY-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The values in the configuration file. A key in the file has `-` where the field's name has `_`.

    `key_profiles` has the tables `[profile.NAME]` by name. In a file with such tables, the key `aws-profile` has the
    value of `profile`.
    """

    profile: str | None = None
    region: str | None = None
    account: str | None = None
    plain: bool | None = None
    backup_dir: str | None = None
    ledger: str | None = None
    backup_profile: str | None = None
    backup_region: str | None = None
    backup_endpoint_url: str | None = None
    backup_kms_key: str | None = None
    bucket_owner: str | None = None
    recipients: tuple[str, ...] = ()
    age_plugins: tuple[str, ...] = ()
    mds: str | None = None
    mds_root: str | None = None
    company: str | None = None
    contact: str | None = None
    help_page: str | None = None
    letter_template: str | None = None
    key_profiles: "Mapping[str, KeyProfile]" = field(default_factory=dict)


# The condition that the value of a key meets, and how such a value is written. Other keys take a string.
ValueRule = tuple[Callable[[object], bool], str]
TEXT: ValueRule = (lambda value: isinstance(value, str), "a string in quotes")
TEXTS: ValueRule = (
    lambda value: isinstance(value, list) and all(isinstance(text, str) for text in value),
    'a list of strings, ["…", "…"]',
)
EXPECTED: Mapping[str, ValueRule] = {
    "plain": (lambda value: isinstance(value, bool), "true or false"),
    "recipients": TEXTS,
    "age-plugins": TEXTS,
    "bucket-owner": (
        lambda value: isinstance(value, str) and ACCOUNT_ID.fullmatch(value) is not None,
        'the 12 digits of an account in quotes, "123456789012"',
    ),
}


def key_of(name: str) -> str:
    """Return the key in the file for the field of Config with this name."""
    return name.replace("_", "-")


AWS_PROFILE, PROFILES = "aws-profile", "profile"
CONFIG_KEYS = tuple(key_of(field.name) for field in fields(Config) if field.name != "key_profiles")


def config_path() -> Path:
    """Return the path of the file in `$MFA_KIT_HOME`, or if that is not set, in the platform's configuration folder.

    The file need not exist.
    """
    if home := os.environ.get("MFA_KIT_HOME"):
        return Path(home).absolute() / CONFIG_NAME
    import platformdirs

    return platformdirs.user_config_path("mfa-kit") / CONFIG_NAME


def load_config() -> Config:
    """Read the file and return its values, or return the defaults if there is no file.

    Raise UsageFault if it is not a regular file, if other users can write to it or its folder, or if its content is not
    valid. Raise IntegrityFault if it cannot be read.
    """
    file = config_path()
    try:
        text = _trusted(file)
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise IntegrityFault(f"{file} cannot be read: {error.strerror}", "check its permissions") from None
    return _parse(text, file)


def _trusted(file: Path) -> bytes:
    """Return the content of the file.

    Raise UsageFault if it is not a regular file, or if anyone but this user and root can write to it or its folder.
    """
    from mfa_kit.disk.files import fault_of_owner

    with os.fdopen(os.open(file, os.O_RDONLY | NO_WAIT), "rb") as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise UsageFault(f"{file} is not a file", "move it away, and write a file in its place")
        for checked, status in ((file, os.fstat(opened.fileno())), (file.parent, file.parent.stat())):
            if fault := fault_of_owner(checked, status):
                raise UsageFault(*fault)
        return opened.read()


def _parse(text: bytes, file: Path) -> Config:
    """Return the values of a configuration file.

    Raise UsageFault for an identity, text that is not TOML, an unknown key, or a value of the wrong type.
    """
    import tomllib

    if IDENTITY in text.upper():
        raise UsageFault(
            f"{file} contains an identity, which is secret",
            Message("replace the identity with its public key", command("age-keygen -y FILE")),
        )
    try:
        document: dict[str, object] = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise UsageFault(
            f"{file} is not valid TOML: {error}",
            suggest(f"beside tables [profile.NAME], the AWS profile is {AWS_PROFILE}; see", "help configuration"),
        ) from None
    tables = document.pop(PROFILES) if isinstance(document.get(PROFILES), dict) else {}
    if AWS_PROFILE in document:
        document = {PROFILES: document.pop(AWS_PROFILE), **document}
    return Config(
        **{key.replace("-", "_"): _checked(key, value, file) for key, value in document.items()},
        key_profiles=_key_profiles(cast("Mapping[str, object]", tables), file),
    )


def _key_profiles(tables: Mapping[str, object], file: Path) -> "dict[str, KeyProfile]":
    """Return the profiles in the table `profile` of the configuration file. Raise UsageFault if one is wrong."""
    if not tables:
        return {}
    from mfa_kit.security_keys.profile import parse_profile

    try:
        return {name: parse_profile(name, table) for name, table in tables.items()}
    except UsageFault as fault:
        raise UsageFault(f"{file}: {fault}", fault.hint) from None


def _checked(key: str, value: object, file: Path) -> Any:
    """Return the value of a field of Config. Raise UsageFault for an unknown key, or a value of the wrong type."""
    if key not in CONFIG_KEYS:
        raise UsageFault(f"{file}: unknown key {key!r}", _correction(key))
    is_valid, expected = EXPECTED.get(key, TEXT)
    if not is_valid(value):
        raise UsageFault(f"{file}: {key} has the wrong value {value!r}", f"use {expected}")
    return tuple(value) if isinstance(value, list) else value


def _correction(key: str) -> str:
    """Return a hint that suggests a valid key in place of an unknown key."""
    from difflib import get_close_matches  # imported only if a key is wrong

    close = get_close_matches(key, CONFIG_KEYS, n=1)
    return f"did you mean {close[0]!r}?" if close else f"remove it, or use one of {', '.join(CONFIG_KEYS)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings that every command gets.

    `interaction` asks the user at the terminal, or raises Declined if there is no terminal. `sleep` waits for a number
    of seconds and shows a countdown. `end` reports a fault and ends the process; it is called if the session that holds
    the locks of runs in PostgreSQL is lost. `account` is the ID that the caller's account must have. `ledger` is the
    URL of the ledger in PostgreSQL, or None if it is a file on this computer. `retired_recipients` may be used although
    the ledger says that they are retired. With `typed`, codes of the caller are typed even if a key has them. With
    `whole_names`, messages contain the caller's ARN instead of the caller's name. When `stop` is set, pauses and
    requests of the command end in all its threads. `opener`, if given, returns the function that opens the clients of a
    command, as `KeptSession.opener` does.
    """

    interaction: Interaction
    progress: LiveProgress
    sleep: Callable[[float], None]
    end: Callable[[IntegrityFault], NoReturn]
    config: Config
    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    account: str | None = None
    ledger: str | None = None
    retired_recipients: tuple[str, ...] = ()
    yes: bool = False
    no_input: bool = False
    typed: bool = False
    dry_run: bool = False
    plain: bool = False
    quiet: bool = False
    debug: bool = False
    whole_names: bool = True
    stop: Stop = field(default_factory=Stop)
    opener: "Callable[[], Callable[[Connection], Clients]] | None" = None

    @property
    def still(self) -> bool:
        """Whether lines on stderr must not be redrawn, because of --plain or --quiet."""
        return self.plain or self.quiet


def find_key_profile(config: Config, name: str) -> "KeyProfile":
    """Return the profile of keys with this name. Raise UsageFault if the configuration file has none."""
    if name not in config.key_profiles:
        known = ", ".join(config.key_profiles)
        raise UsageFault(
            f"there is no profile {name!r} for keys in {config_path()}",
            f"use one of {known}" if known else suggest(f"add a table [profile.{name}]; see", "help configuration"),
        )
    return config.key_profiles[name]


def take_key_profile(settings: Settings, named: str | None) -> "tuple[Settings, KeyProfile | None]":
    """Return the profile of keys that the command line names, and the settings without it.

    `named` is the value of --key-profile. `--profile NAME` names the profile of keys too if the configuration file has
    a table `[profile.NAME]`. The AWS profile is then that of the configuration file. Raise UsageFault for an unknown
    name.
    """
    config, given = settings.config, settings.profile
    if named is None and given and given != config.profile and given in config.key_profiles:
        return replace(settings, profile=config.profile), config.key_profiles[given]
    return settings, find_key_profile(config, named) if named else None


def home() -> Path:
    """Return the folder for mfa-kit's files: `$MFA_KIT_HOME`, or the platform's data folder."""
    if own := os.environ.get("MFA_KIT_HOME"):
        return Path(own)
    import platformdirs

    return platformdirs.user_data_path("mfa-kit")


def backup_dir(folder: BackupLocation | None) -> BackupLocation:
    """Return the folder of backups: `folder`, else the configured folder, else `backups` in `home()`.

    Raise UsageFault if the configured folder is an invalid S3 URL.
    """
    if folder:
        return folder
    configured_folder = load_config().backup_dir
    if configured_folder is None:
        return home() / "backups"
    place = parse_location(configured_folder)
    return place.expanduser() if isinstance(place, Path) else place


def load_boto3(*, freeze: bool = True) -> None:
    """Load boto3, and exclude its objects from garbage collection, because they live until exit (docs/decisions/007).

    Without `freeze`, they are collected as usual, as a program that imports mfa-kit expects.

    Call this before zxing-cpp is imported. Otherwise this function does nothing, because the types of zxing-cpp would
    be excluded too, and zxing-cpp would print a line at exit for each of them.
    """
    if "boto3" not in sys.modules and "zxingcpp" not in sys.modules:
        import boto3  # noqa: F401 - adapters use it

        if freeze:
            gc.freeze()


def command_for_extra(extra: str) -> Command:
    """Return the command that adds an extra to this installation.

    pipx and uv install a program into an environment of its own, which has no pip. A file in the environment shows
    which of the two created it.
    """
    place, package = Path(sys.prefix), f"mfa-kit[{extra}]"
    if (place / "pipx_metadata.json").exists():
        return command("pipx runpip {} install {}", place.name, package)
    if (place / "uv-receipt.toml").exists():
        return command("uv pip install --python {} {}", str(place), package)
    return command("pip install {}", package)
