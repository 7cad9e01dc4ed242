"""Turns click's errors into errors of mfa-kit, with one sentence and one hint."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from functools import singledispatch

import click

from mfa_kit.cli import environment
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import PROGRAM, Message, mfa_kit, suggest

# Matches the start of click's error for an invalid choice, and captures the rejected value.
GIVEN = re.compile(r"'(.*)' is not (?:one of )?'", re.DOTALL)
# Matches click's error about arguments that a command does not take, and captures these arguments.
EXTRA = re.compile(r"Got unexpected extra arguments? \((.*)\)", re.DOTALL)
# The options that choose several accounts, and what to do if a command has no such option.
MANY = {"--org", "--accounts", "--ou"}
FOR_MANY = suggest(
    "use a command that can work in many accounts: audit, status, doctor, policy lockout, orphans list, or "
    "rollout; to enroll users",
    "rollout plan ROSTER --org -o index.json",
)
# Words that people use for commands with other names. In a group of commands, only its own commands count if there are
# any. Words in upper case are placeholders.
WORDS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("unenroll", "unassign", "deactivate", "disable"), ("revoke USER", "rollout undo")),
    **dict.fromkeys(
        ("delete", "remove", "rm", "clear", "erase", "wipe"),
        ("revoke USER", "rollout undo", "orphans clean", "backup prune", "key reset"),
    ),
    **dict.fromkeys(("offboard", "leave", "leaver", "left"), ("policy offboard USER", "revoke USER", "backup prune")),
    **dict.fromkeys(
        ("list", "ls", "users", "devices"),
        ("status", "backup list", "key list", "orphans list", "ledger show", "rollout status", "config show"),
    ),
    **dict.fromkeys(("letters", "letter"), ("rollout handover",)),
    **dict.fromkeys(
        ("add", "new", "create", "register", "assign"),
        ("enroll USER", "rollout plan", "break-glass create", "backup add", "ledger init"),
    ),
    **dict.fromkeys(("roster", "bulk"), ("rollout plan",)),
    **dict.fromkeys(("lost", "swap", "exchange", "reenroll", "re-enroll"), ("replace USER",)),
    **dict.fromkeys(("recover", "decrypt"), ("backup restore", "backup show", "break-glass open")),
    **dict.fromkeys(("log", "logs", "history"), ("ledger show",)),
    **dict.fromkeys(("check", "test"), ("doctor", "audit", "backup verify", "config validate")),
    **dict.fromkeys(("demo", "tutorial", "practice"), ("lab tour",)),
    "report": ("audit", "evidence export"),
    "setup": ("doctor", "policy onboard"),
    "uninstall": ("udev remove",),
    "login": ("session",),
    "user": ("status",),
    **dict.fromkeys(("version", "versions"), ("--version",)),
}
# How many commands a hint names at most.
NAMED = 4
# Words with opposite meanings that look alike, and the beginnings that turn a word into its opposite.
OPPOSITES = {"import": "export", "export": "import", "onboard": "offboard", "offboard": "onboard"}
NEGATIONS = ("un", "de", "dis", "no-", "not-", "without-")
MEANING = {"RECIPIENT": "an age1… or SSH public key"}


def usage_fault(error: click.UsageError) -> UsageFault:
    """Return a UsageFault, with a sentence and a hint, for an error of click."""
    ctx = error.ctx or click.Context(click.Command("mfa-kit"), info_name="mfa-kit")
    message, hint = _what_and_hint(error, ctx)
    return UsageFault(message, hint)


@singledispatch
def _what_and_hint(error: click.UsageError, ctx: click.Context) -> tuple[str, str]:
    """Return the message and the hint for an error of click. The functions registered below handle its subclasses."""
    extra = EXTRA.fullmatch(error.message)
    if extra and ctx.command.name == "enroll" and "user" in ctx.params:
        return _several_users(ctx, extra[1].split())
    return _message_and_usage(error, ctx)


@_what_and_hint.register
def _no_such_option(error: click.NoSuchOption, ctx: click.Context) -> tuple[str, str]:
    known = [name for param in ctx.command.get_params(ctx) for name in param.opts] + [*(error.possibilities or ())]
    command = ctx.command_path.partition(" ")[2] or ctx.command_path
    if error.option_name in MANY and ctx.parent is not None:
        return f"{command} has no option {error.option_name}, because this command works in one account", FOR_MANY
    hint = nearest(error.option_name, known, otherwise=_see_help(ctx))
    return f"{command} has no option {error.option_name}", hint


@_what_and_hint.register
def _no_command(_error: click.exceptions.NoArgsIsHelpError, ctx: click.Context) -> tuple[str, str]:
    return "no command is given", _see_help(ctx)


@_what_and_hint.register
def _missing_parameter(error: click.MissingParameter, ctx: click.Context) -> tuple[str, str]:
    match error.param:
        case click.Option() as option:
            return f"{_name(option)} is missing", f"add {_form(option, ctx)}; {_see_help(ctx)}"
        case click.Argument() as argument:
            return f"{_name(argument)} is missing", f"write {_usage(ctx)}"
        case _:
            return _message_and_usage(error, ctx)


@_what_and_hint.register
def _bad_parameter(error: click.BadParameter, ctx: click.Context) -> tuple[str, str]:
    match error.param:
        case click.Parameter(type=click.Choice() as choice) as param:
            return _no_such_choice(error, param, choice, ctx)
        case click.Parameter() as param:
            return f"{environment.source(ctx, param) or _name(param)}: {_sentence(error.message)}", _see_help(ctx)
        case _:
            return _message_and_usage(error, ctx)


@_what_and_hint.register
def _bad_option_usage(error: click.BadOptionUsage, ctx: click.Context) -> tuple[str, str]:
    return _sentence(error.message), _how_to_write(error, ctx) or _see_help(ctx)


def _message_and_usage(error: click.UsageError, ctx: click.Context) -> tuple[str, str]:
    return _sentence(error.format_message()), f"write {_usage(ctx)}"


def _no_such_choice(
    error: click.BadParameter, param: click.Parameter, choice: click.Choice[str], ctx: click.Context
) -> tuple[str, str]:
    # An argument with one possible value has no name of its own: its place in the usage line is that value.
    is_word = isinstance(param, click.Argument) and len(choice.choices) == 1
    name = environment.source(ctx, param) or (ctx.info_name if is_word else _name(param))
    match, one_of = GIVEN.match(error.message), f"write {_listed(choice)}"
    if match is None:
        return f"{name} does not take this value", one_of
    return f"{name} does not take {match[1]!r}", nearest(
        match[1],
        map(str, choice.choices),
        before=f"{_name(param)} " if isinstance(param, click.Option) else "",
        otherwise=one_of,
    )


def _how_to_write(error: click.BadOptionUsage, ctx: click.Context) -> str | None:
    params = ctx.command.get_params(ctx)
    return next((f"write {_form(param, ctx)}" for param in params if error.option_name in param.opts), None)


def _several_users(ctx: click.Context, more: Sequence[str]) -> tuple[str, str]:
    users = ",".join([str(ctx.params["user"]), *more])
    return "enroll takes one user", suggest("for several users", "rollout plan --only {} -o plan.json", users)


def nearest(name: str, known: Iterable[str], *, before: str = "", otherwise: str) -> str:
    """Return a hint with the known name that is most similar to `name`. If no name is similar, return `otherwise`.

    `before` is the text that the user types before the name.
    """
    close = _similar(name, known)
    return f"{before}{close}, if that is what you meant" if close else otherwise


def _similar(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to `name`, unless its opposite is at least as similar."""
    bare, names = name.lstrip("-"), {entry.lstrip("-"): entry for entry in known}  # dashes do not make names similar
    for similar in get_close_matches(bare, names, n=1):
        opposites = [SequenceMatcher(None, opposite, bare).ratio() for opposite in _opposites(similar)]
        if max(opposites, default=0.0) < SequenceMatcher(None, similar, bare).ratio():
            return names[similar]
    return None


def _opposites(bare: str) -> Iterator[str]:
    """Yield words with the opposite meaning of the name of a command or an option. Some of them are no words."""
    if bare in OPPOSITES:
        yield OPPOSITES[bare]
    for negation in NEGATIONS:
        yield f"{negation}{bare}"
        if bare.startswith(negation):
            yield bare.removeprefix(negation)


def other_commands(word: str, group: str, purposes: Mapping[str, str]) -> str:
    """Return a hint with the commands that may be meant by a word that is no command of a group.

    `group` has the names of the group, such as `key pin`, or is empty. `purposes` has the purpose of each command and
    each group, by its names.
    """
    word, inside = word.lower(), f"{group} ".lstrip()
    if commands := _named_like(word, inside, purposes):
        return _with_purposes(commands, purposes)
    siblings = [names.removeprefix(inside) for names in purposes if names.startswith(inside)]
    if meant := nearest(
        word, [name for name in siblings if " " not in name], before=f"{PROGRAM} {inside}", otherwise=""
    ):
        return meant
    if close := _similar(word, {*WORDS, *(names.split()[-1] for names in purposes)}):
        return _with_purposes(_named_like(close, inside, purposes), purposes)
    return f"see {PROGRAM} {inside}--help"


def _named_like(word: str, inside: str, purposes: Mapping[str, str]) -> list[str]:
    """Return the commands of WORDS for a word, and the commands with this name. Those of a group win."""
    listed = WORDS.get(word, ())
    if own := [names for names in listed if inside and names.startswith(inside)]:
        return own
    return [*listed] or [names for names in purposes if names.split()[-1] == word]


def _with_purposes(commands: Sequence[str], purposes: Mapping[str, str]) -> Message:
    parts: list[str] = []
    for names in commands[:NAMED]:
        purpose = purposes.get(" ".join(word for word in names.split() if not word.isupper()))
        parts += [*([f"to {_sentence(purpose)}"] if purpose else []), mfa_kit(names)]
    return Message(*parts)


def _see_help(ctx: click.Context) -> str:
    return f"see {ctx.command_path} --help"


def _usage(ctx: click.Context) -> str:
    return " ".join([ctx.command_path, *ctx.command.collect_usage_pieces(ctx)])


def _name(param: click.Parameter) -> str:
    return max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name


def _form(param: click.Parameter, ctx: click.Context) -> str:
    """Return an option as it is typed: its name and, unless it is a flag, its possible values or a placeholder."""
    if isinstance(param, click.Option) and param.is_flag:
        return _name(param)
    takes = _listed(param.type) if isinstance(param.type, click.Choice) else param.make_metavar(ctx)
    meaning = f", {MEANING[takes]}" if takes in MEANING else ""
    return f"{_name(param)} {takes}{meaning}"


def _listed(choice: click.Choice[str]) -> str:
    *most, last = map(str, choice.choices)
    return f"{', '.join(most)} or {last}" if most else last


def _sentence(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")
