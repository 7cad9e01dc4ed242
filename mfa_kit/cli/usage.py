"""Turns click's errors into errors of mfa-kit, with one sentence and one hint."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import singledispatch

import click

from mfa_kit.cli import environment
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import suggest

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
    known = [name for param in ctx.command.get_params(ctx) for name in param.opts]
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
    name = environment.source(ctx, param) or _name(param)
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
    close = get_close_matches(name, known, n=1)
    return f"{before}{close[0]}, if that is what you meant" if close else otherwise


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
