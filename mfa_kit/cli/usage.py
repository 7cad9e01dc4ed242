"""What click finds wrong with a command line, in one sentence and one hint as every other error."""

import re
from collections.abc import Iterable

import click

from mfa_kit.core.errors import UsageFault

# How click's Choice quotes what it was given.
GIVEN = re.compile(r"'(.*)' is not (?:one of )?'", re.DOTALL)


def told(error: click.UsageError) -> UsageFault:
    """Say it in our words."""
    ctx = error.ctx or click.Context(click.Command("mfa-kit"), info_name="mfa-kit")
    params, help_ = ctx.command.get_params(ctx), f"see {ctx.command_path} --help"
    match error:
        case click.NoSuchOption():
            known = [name for param in params for name in param.opts]
            what = f"{ctx.command_path.partition(' ')[2] or ctx.command_path} has no option {error.option_name}"
            hint = nearest(error.option_name, known, otherwise=help_)
        case click.MissingParameter(param=click.Option() as option):
            what, hint = f"{_name(option)} is missing", f"add {_form(option, ctx)}; {help_}"
        case click.MissingParameter(param=click.Argument() as argument):
            what, hint = f"{_name(argument)} is missing", f"write {_usage(ctx)}"
        case click.BadParameter(param=click.Parameter(type=click.Choice() as choice) as param):
            given, one_of = GIVEN.match(error.message), f"write {_listed(choice)}"
            what = f"{_name(param)} does not take {given[1] if given else 'that'!r}"
            hint = nearest(given[1], map(str, choice.choices), otherwise=one_of) if given else one_of
        case click.BadParameter(param=click.Parameter() as param):
            what, hint = f"{_name(param)}: {_sentence(error.message)}", help_
        case click.BadOptionUsage():
            forms = [_form(param, ctx) for param in params if error.option_name in param.opts]
            what, hint = _sentence(error.message), f"write {forms[0]}" if forms else help_
        case _:
            what, hint = _sentence(error.format_message()), f"write {_usage(ctx)}"
    return UsageFault(what, hint)


def nearest(given: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return as hint what was probably meant."""
    from difflib import get_close_matches

    return next((f"{name}, if that was meant" for name in get_close_matches(given, known, n=1)), otherwise)


def _usage(ctx: click.Context) -> str:
    return " ".join([ctx.command_path, *ctx.command.collect_usage_pieces(ctx)])


def _name(param: click.Parameter) -> str:
    return max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name


def _form(param: click.Parameter, ctx: click.Context) -> str:
    """Write an option as it is to be typed, with what it takes."""
    if isinstance(param, click.Option) and param.is_flag:
        return _name(param)
    takes = _listed(param.type) if isinstance(param.type, click.Choice) else param.make_metavar(ctx)
    return f"{_name(param)} {takes}"


def _listed(choice: click.Choice[str]) -> str:
    *most, last = map(str, choice.choices)
    return f"{', '.join(most)} or {last}" if most else last


def _sentence(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")
