"""Where options come from: the command line that is being run, and the environment variables that set options.

Only options in COMMON and ALLOWED have a variable. A new option has no variable until it is added to COMMON or ALLOWED.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise, takewhile
from typing import NamedTuple

import click

from mfa_kit.core.message import PROGRAM, Command

PREFIX = "MFA_KIT"
# Variables with this prefix that belong to no option.
RESERVED = frozenset({"MFA_KIT_HOME", "MFA_KIT_LAB"})
# The common options that have a variable, named after the option only: MFA_KIT_PROFILE.
COMMON: frozenset[str] = frozenset(
    (
        *("--profile", "--region", "--endpoint-url", "--account", "--ledger", "--output"),
        *("--no-input", "--typed", "--dry-run", "--wide", "--plain", "--quiet", "--verbose"),
    )
)
# The options of single commands that have a variable, named after command and option: MFA_KIT_ROLLOUT_APPLY_WORKERS.
ALLOWED = frozenset(
    (
        *("--asset", "--at-once", "--attestation", "--backup-dir", "--box", "--burst", "--capacity", "--count"),
        "--dir",
        *("--drilled-within", "--expect-sha256", "--faults", "--find", "--first-sign-in", "--group", "--key"),
        *("--latency", "--mds", "--mfa-device", "--min-length", "--name", "--never-touched", "--on"),
        *("--only", "--own-names", "--partition", "--password-profile", "--path-prefix", "--plan", "--policy"),
        *("--port", "--publish", "--rate", "--require", "--results", "--seed-encoding", "--serial", "--set"),
        *("--since", "--snapshot", "--state", "--tag", "--timeout", "--touch-delay", "--two", "--u2f", "--user"),
        *("--once", "--unfinished", "--log"),
        *("--user-paths", "--users", "--variant", "--verdict", "--wait", "--watch", "--without-mfa", "--workers"),
        *("--admin", "--ask-iam", "--framework", "--maker", "--max-session", "--no-browser", "--output-dir"),
        *("--paper", "--pdf", "--unused", "--advisory"),
    )
)
# Options without a variable, grouped by the reason. A test fails if an option is not in COMMON, ALLOWED or EXCEPTED.
EXCEPTED: Mapping[str, tuple[str, ...]] = {
    "they give access to a secret, or say where a secret is read or written": (
        *("--identity", "--passphrase", "--passphrase-fd", "--password-stdin", "--pin-stdin", "--unlock-stdin"),
        *("--unlock-fd", "--codes-stdin", "--codes", "--seeds", "--readings", "--backup", "--image", "--out"),
        *("--qr-file", "--show-secret", "--generate", "--resume", "--to", "--from", "--sheet"),
        *("--letters", "--letter", "--protocol", "--secrets", "--passphrase-files", "--passphrases"),
    ),
    "they decide who can decrypt a backup; use the configuration file instead": (
        *("--recipient", "--recipients-file", "--custodian", "--threshold", "--github", "--base-url"),
    ),
    "they skip or weaken a confirmation or a check": (
        *("--yes", "--accept-lockout", "--accept-label", "--accept-unrecorded", "--allow-older"),
        *("--erase-oath", "--leave-without-mfa", "--lost", "--skip-bad", "--skip-key-check"),
        *("--trust-report", "--max", "--max-age", "--max-failures", "--older-than", "--days", "--window", "--mds-root"),
        *("--fail-on", "--rule", "--self-enroll", "--no-write", "--touch", "--force-change", "--prove", "--grace"),
        *("--local-backups", "--retired-recipient", "--accept-unknown-clock", "--proofs", "--prompt", "--baseline"),
        "--unproven",
    ),
    "they change what a command does, so they must be visible on the command line": (
        *("--record", "--adopt", "--adopt-unrecorded", "--cloudtrail", "--roster", "--shipping", "--arrived", "--how"),
        "--for",
        *("--with", "--add", "--root", "--all", "--stage", "--resync", "--shred", "--open", "--open-role"),
        *("--probe-user", "--programmable", "--path", "--desk", "--auditor", "--owner", "--each-user"),
        *("--pseudonyms", "--sign", "--fips"),
        "--require-certification",
        *("--accounts", "--org", "--ou", "--include", "--exclude", "--account-tag", "--role-name"),
        *("--external-id", "--source-identity", "--with-tags", "--hub", "--organization", "--enroll", "--require-mfa"),
        *("--page", "--phone", "--root-ceremony", "--deadline", "--template", "--key-profile"),
        *("--role-arn", "--duration", "--no-cache", "--logout", "--scp", "--at", "--instead-of-full-access"),
        *("--offline", "--attached"),
    ),
    "their values may contain spaces, but a variable is split at spaces": ("--reader",),
    "they apply to the result of a single command": ("--query",),
    "they only print something": ("--help", "--version"),
}


def bind(ctx: click.Context, params: Sequence[click.Parameter]) -> list[click.Parameter]:
    """Tell click which environment variable, if any, sets each option in `params`. Return `params` as a list."""
    for param in params:
        if isinstance(param, click.Option):
            param.allow_from_autoenv = False  # click would derive the name from the function's parameter
            param.envvar = _variable(ctx, param)
    return list(params)


def _variable(ctx: click.Context, option: click.Option) -> str | None:
    name = long_name(option)
    allowed = name in (ALLOWED if ctx.parent else COMMON)
    if not ctx.auto_envvar_prefix or not allowed:
        return None
    return f"{ctx.auto_envvar_prefix}_{name.removeprefix('--').upper().replace('-', '_')}"


def long_name(option: click.Parameter) -> str:
    """Return the first of an option's names that begins with two dashes."""
    return next(name for name in option.opts if name.startswith("--"))


def source(ctx: click.Context, param: click.Parameter) -> str:
    """Return the name of the environment variable that gave a parameter its value, or "" if none did."""
    from_it = ctx.get_parameter_source(param.name or "") is click.core.ParameterSource.ENVIRONMENT
    return param.envvar if from_it and isinstance(param.envvar, str) else ""


# The key in the `meta` of click's context under which the whole command line is stored.
ARGUMENTS = "mfa_kit.arguments"
# The key under which the values of --retired-recipient are stored.
RETIRED = "mfa_kit.retired"


class Flags(NamedTuple):
    """The values of the common options, which can be given before or after the name of the command.

    This is a NamedTuple, because Python would take ten times as long to define a dataclass when the module loads.
    """

    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    account: str | None = None
    ledger: str | None = None
    output: str | None = None
    query: str | None = None
    yes: bool = False
    no_input: bool = False
    typed: bool = False
    dry_run: bool = False
    wide: bool = False
    plain: bool = False
    quiet: bool = False
    debug: bool = False


def given() -> Flags:
    """Return the common options of the command line that is being run."""
    return Flags(**click.get_current_context().find_root().ensure_object(dict))


def asks_for_json(arguments: Sequence[str], variables: Mapping[str, str]) -> bool:
    """Return whether a command line and these environment variables ask for JSON or JSON Lines.

    This needs no parser, because it is also asked about command lines that are invalid.
    """
    form = variables.get(f"{PREFIX}_OUTPUT", "")
    words = [*takewhile("--".__ne__, arguments), ""]
    for word, following in pairwise(words):
        name, is_joined, value = word.partition("=")
        if name == "--output":
            form = value if is_joined else following
        elif name == "--query":
            form = form or "json"
    return form in {"json", "jsonl"}


def command_line(*more: str) -> Command:
    """Return the command that is being run, with `more` options. No option takes a secret, so it contains none."""
    return Command([PROGRAM, *click.get_current_context().meta[ARGUMENTS], *more])
