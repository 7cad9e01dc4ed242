"""The configuration file: defaults for options, in TOML.

The file names the recipients to which secrets are encrypted, so mfa-kit refuses a file that another user can change.
mfa-kit does not look for a configuration file in the working directory.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.models import ACCOUNT_ID
from mfa_kit.disk.folders import fault_of_owner
from mfa_kit.posix.open_files import NO_WAIT

NAME = "config.toml"
# The start of an age identity (a private key). mfa-kit refuses a configuration file that contains an identity, because
# `config show` and errors would print the identity.
IDENTITY = b"AGE-SECRET-KEY-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The values in the configuration file. A key in the file has `-` where the field's name has `_`."""

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
    letter_template: str | None = None


# The expected value of each key that does not take a string.
LIST = 'a list of strings, ["…", "…"]'
WORDS = {
    "plain": "true or false",
    "recipients": LIST,
    "age-plugins": LIST,
    "bucket-owner": 'the 12 digits of an account in quotes, "123456789012"',
}
TEXT = "a string in quotes"


def key_of(name: str) -> str:
    """Return the key in the file for the field of Config with this name."""
    return name.replace("_", "-")


KEYS = tuple(key_of(field.name) for field in fields(Config))


def path() -> Path:
    """Return the path of the file in `$MFA_KIT_HOME`, or if that is not set, in the platform's configuration folder.

    The file need not exist.
    """
    if home := os.environ.get("MFA_KIT_HOME"):
        return Path(home).absolute() / NAME
    import platformdirs

    return platformdirs.user_config_path("mfa-kit") / NAME


def load() -> Config:
    """Read the file and return its values, or return the defaults if there is no file.

    Raise UsageFault if it is not a regular file, if other users can write to it or its folder, or if its content is not
    valid. Raise IntegrityFault if it cannot be read.
    """
    file = path()
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
            "replace the identity with its public key: age-keygen -y FILE",
        )
    try:
        document: Mapping[str, object] = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise UsageFault(f"{file} is not valid TOML: {error}", "see docs/configuration.md") from None
    for key, value in document.items():
        _check(key, value, file)
    return Config(
        profile=_text(document.get("profile")),
        region=_text(document.get("region")),
        account=_text(document.get("account")),
        plain=_flag(document.get("plain")),
        backup_dir=_text(document.get("backup-dir")),
        ledger=_text(document.get("ledger")),
        backup_profile=_text(document.get("backup-profile")),
        backup_region=_text(document.get("backup-region")),
        backup_endpoint_url=_text(document.get("backup-endpoint-url")),
        backup_kms_key=_text(document.get("backup-kms-key")),
        bucket_owner=_account(document.get("bucket-owner")),
        recipients=_texts(document.get("recipients")) or (),
        age_plugins=_texts(document.get("age-plugins")) or (),
        mds=_text(document.get("mds")),
        mds_root=_text(document.get("mds-root")),
        company=_text(document.get("company")),
        contact=_text(document.get("contact")),
        letter_template=_text(document.get("letter-template")),
    )


def _check(key: str, value: object, file: Path) -> None:
    if key not in KEYS:
        raise UsageFault(f"{file}: unknown key {key!r}", _correction(key))
    typed = {"plain": _flag, "recipients": _texts, "age-plugins": _texts, "bucket-owner": _account}.get(key, _text)
    if typed(value) is None:
        raise UsageFault(f"{file}: {key} has the wrong value {value!r}", f"use {WORDS.get(key, TEXT)}")


def _correction(key: str) -> str:
    """Return a hint that suggests a valid key in place of an unknown key."""
    from difflib import get_close_matches  # imported only if a key is wrong

    close = get_close_matches(key, KEYS, n=1)
    return f"did you mean {close[0]!r}?" if close else f"remove it, or use one of {', '.join(KEYS)}"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _account(value: object) -> str | None:
    return value if isinstance(value, str) and ACCOUNT_ID.fullmatch(value) else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _texts(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    texts = tuple(text for text in value if isinstance(text, str))
    return texts if len(texts) == len(value) else None
