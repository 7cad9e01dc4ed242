"""Reads a profile from the files that all AWS programs share, without boto3, which takes 145 ms to load.

Source: botocore 1.44.8, configloader.py and credentials.py. Values in the credentials file win.
"""

import configparser
from collections.abc import Mapping
from pathlib import Path

from mfa_kit.core.errors import UsageFault

# The settings that are read. Secrets are not among them.
SETTINGS = {"aws_access_key_id", "credential_process", "endpoint_url", "mfa_serial", "role_arn", "services"}
# Settings that make the keys of a profile temporary, and the name under which `read_profile` returns them.
TOKENS = {"aws_session_token", "aws_security_token"}
TEMPORARY = "temporary keys"
FILES = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}
# The variables that choose the address of STS.
ENDPOINTS = ("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")


def read_profile(profile: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a profile that are in SETTINGS. TEMPORARY is among them if the keys are temporary.

    The value of `services` is the section with that name. Raise UsageFault if a file cannot be read, or if no file has
    the profile.
    """
    config, credentials = (_parsed(environment.get(name) or path) for name, path in FILES.items())
    read = [config[name] for name in filter(lambda section: _name_of(section) == profile, config)]
    read += [credentials[name] for name in {profile} & {*credentials}]
    if not read:
        raise UsageFault(
            f"there is no profile {profile!r} in {environment.get('AWS_CONFIG_FILE') or FILES['AWS_CONFIG_FILE']}",
            "name the profile with the user's access keys: --profile NAME",
        )
    settings = {name: section[name] for section in read for name in section.keys() & SETTINGS}
    if any(map(TOKENS.intersection, read)):
        settings[TEMPORARY] = "yes"
    return settings | _services(config, settings.get("services"))


def _services(config: configparser.RawConfigParser, name: str | None) -> dict[str, str]:
    """Return the setting `services` with the content of its section, if there is one with this name."""
    section = f"services {name}"
    return {"services": repr(dict(config[section]))} if section in config else {}


def _parsed(path: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(default_section="\0")
    try:
        with Path(path).expanduser().open(encoding="utf-8") as file:
            parser.read_file(file)
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError):
        raise UsageFault(f"{path} cannot be read", "check its permissions; it must be UTF-8") from None
    except configparser.Error as error:
        raise UsageFault(
            f"{path} cannot be parsed ({type(error).__name__})", "correct its sections and lines"
        ) from None
    return parser


def _name_of(section: str) -> str:
    """Return the name of the profile that a section of the configuration file has, or "" for another section."""
    word, _, name = section.partition(" ")
    return name.strip().strip("\"'") if word == "profile" else section if section == "default" else ""
