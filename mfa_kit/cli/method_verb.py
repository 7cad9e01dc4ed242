"""The class and the options of commands that make a device. Some options depend on the method given with `--with`."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from mfa_kit.cli import environment, options
from mfa_kit.cli.backup_options import new_backup_options
from mfa_kit.cli.usage import nearest
from mfa_kit.cli.value_types import LocalPath, add_options
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import VIRTUAL
from mfa_kit.wiring.methods.method import EnrollmentMethod, Option, Options, built, option_of, type_of
from mfa_kit.wiring.methods.registry import METHODS


def single(kind: type[Options]) -> set[str]:
    """Return the names of those options of an enrollment method that apply to a single device.

    `kind` is the dataclass of the method's options.
    """
    return {field.name for field in fields(kind) if option_of(field).single}


def click_options(kind: type[Options]) -> list[click.Option]:
    """Return the fields of `kind`, the dataclass of an enrollment method's options, as click options."""
    return [_click_option(field, option_of(field)) for field in fields(kind)]


def _click_option(declared: Field[Any], option: Option) -> click.Option:
    kind, flag = type_of(declared), f"--{declared.name.replace('_', '-')}"
    value = declared.default.value if isinstance(declared.default, StrEnum) else declared.default
    default = {"required": True} if value is MISSING else {"default": value, "show_default": bool(value)}
    return click.Option(
        [f"{flag}/{option.off}" if option.off else flag],
        type=None if kind is bool else _click_type(kind, option),
        is_flag=kind is bool,
        metavar=option.metavar,
        help=option.help,
        **default,
    )


def _click_type(kind: object, option: Option) -> click.ParamType[Any] | type:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return click.Choice([member.value for member in kind])
    if kind is Path:
        return LocalPath()
    if kind is int:
        return click.IntRange(option.least, option.most)
    return str


EPILOG = (
    "USER is a name, an ARN, or @me.\n\n\b\n"
    "Kinds of devices (for the options of a kind, see mfa-kit enroll --with KIND --help):\n"
    + "\n".join(f"  {name:<14}{method.help}" for name, method in METHODS.items())
)
KEY = "write --with fido2 for a security key, or --with oath for a key that shows codes"
# The option to finish an unfinished device. It needs no `--with`, because the journal has the device's method.
RESUME = "--resume"
# The option to enroll root. Together with `--root`, no USER is given, because root is not an IAM user.
ROOT = "--root"
# Keys in click's context: the enrollment method given with --with, and whether --root is given.
METHOD_NAME, FOR_ROOT = f"{__name__}.method", f"{__name__}.root"


class MethodVerb(options.Verb):
    """A command that makes a device. It takes the options of the enrollment method that is given with `--with`.

    Its function receives the values of these options as `method_options`. If an option of another enrollment method is
    given, the error names that method.

    With `kind_of_old`, `--with` may be left out. Then `method_options` are those of the only method that has all the
    options that are given, in any order, or None without such an option.
    """

    def __init__(self, *args: Any, kind_of_old: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kind_of_old = kind_of_old

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. The enrollment method is found first, because it determines which options are valid."""
        before_names = args[: args.index("--")] if "--" in args else args
        name = _method_named(before_names)
        if name is not None and not ctx.resilient_parsing:
            _check_method(name)
        ctx.meta[METHOD_NAME] = name or (VIRTUAL.name if RESUME in before_names else None)
        ctx.meta[FOR_ROOT] = ROOT in before_names
        remaining_args = self._parse_options(ctx, args, may_name_method=name is None and self.kind_of_old)
        if ctx.meta[METHOD_NAME] is None and not ctx.resilient_parsing and not self.kind_of_old:
            raise click.MissingParameter(ctx=ctx, param=next(p for p in self.params if p.name == "method"))
        return remaining_args

    def _parse_options(self, ctx: click.Context, args: list[str], *, may_name_method: bool) -> list[str]:
        """Parse the arguments with the options of the method that `ctx` names.

        With `may_name_method`, the only method that has all the given options becomes the method of `ctx`.
        """
        try:
            return super().parse_args(ctx, [*args])
        except click.NoSuchOption as error:
            owners = _owners(error.option_name)
            names = (self._methods_with(ctx, args) or owners[:1]) if may_name_method else []
            if not owners and may_name_method:
                near = [flag for method in METHODS.values() for flag in _flags(method)]
                raise click.NoSuchOption(error.option_name, possibilities=near, ctx=ctx) from None
            if len(names) != 1:
                raise _fault_of(error, names or owners) from None
            ctx.meta[METHOD_NAME] = names[0]
            return self._parse_options(ctx, args, may_name_method=False)

    def _methods_with(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Return the names of the enrollment methods that have all the options in `args`."""
        names = []
        for name in METHODS:
            ctx.meta[METHOD_NAME] = name
            with suppress(click.NoSuchOption):
                self.make_parser(ctx).parse_args([*args])
                names.append(name)
        ctx.meta[METHOD_NAME] = None
        return names

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options of the enrollment method, then the command's other options.

        Until the command line is parsed, the method is `virtual`. If the command line names no method, only the other
        options are returned. With `--root`, the argument USER is left out.
        """
        method = _method(ctx, otherwise=VIRTUAL.name)
        params = super().get_params(ctx)
        if ctx.meta.get(FOR_ROOT):
            params = [param for param in params if param.name != "user"]
        return [*environment.bind(ctx, click_options(method.options) if method else ()), *params]

    def invoke(self, ctx: click.Context) -> Any:
        """Combine the options of the enrollment method into the parameter `method_options`, and run the command."""
        ctx.params["method_options"] = None
        if method := _method(ctx):
            values = {option.name: ctx.params.pop(option.name or "") for option in click_options(method.options)}
            ctx.params["method_options"] = built(method.options, values)
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options. If no enrollment method is given, list the options of each method in a separate section."""
        if _method(ctx):
            super().format_options(ctx, formatter)
            return
        params = options.Verb.get_params(self, ctx)
        options.write_options(ctx, formatter, params)
        for name, method in METHODS.items():
            options.write_options(ctx, formatter, click_options(method.options), f"Options of --with {name}")
        options.write_common_options(ctx, formatter, params)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the introduction of the enrollment method before the help text."""
        method = _method(ctx)
        if method and method.about:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(method.about)
        super().format_help_text(ctx, formatter)


def leave_methods_out(ctx: click.Context) -> None:
    """Leave the enrollment methods' options out of the help in this context: manual pages list them separately."""
    ctx.meta[METHOD_NAME] = None


def _method(ctx: click.Context, *, otherwise: str = "") -> EnrollmentMethod | None:
    return METHODS.get(ctx.meta.get(METHOD_NAME, otherwise) or "")


def _method_named(args: Sequence[str]) -> str | None:
    values = [value for option, value in pairwise(args) if option == "--with"]
    values += [arg.partition("=")[2] for arg in args if arg.startswith("--with=")]
    return values[-1] if values else None


def _check_method(name: str) -> None:
    names = list(METHODS)
    if name not in names:
        raise UsageFault(
            f"there is no kind of device {name!r}",
            KEY
            if "key" in name.lower()
            else nearest(
                name, names, before="--with ", otherwise=f"write --with {', '.join(names[:-1])} or {names[-1]}"
            ),
        )


def _owners(option_name: str) -> list[str]:
    """Return the names of the enrollment methods that have an option."""
    return [name for name, method in METHODS.items() if option_name in _flags(method)]


def _flags(method: EnrollmentMethod) -> list[str]:
    """Return the options of an enrollment method, as they are written on the command line."""
    return [flag for option in click_options(method.options) for flag in option.opts]


def _fault_of(error: click.NoSuchOption, owners: Sequence[str]) -> Exception:
    """Return a UsageFault that names the option's enrollment methods. If the option is unknown, return `error`."""
    if not owners:
        return error
    kinds = " or ".join(f"--with {name}" for name in owners)
    return UsageFault(f"{error.option_name} belongs to {kinds}", f"omit it, or write {kinds}")


def name_of(options: Options) -> str:
    """Return the name of the enrollment method that has these options."""
    return next(name for name, method in METHODS.items() if isinstance(options, method.options))


def options_of_old(name: str) -> Options:
    """Return the options of an enrollment method that nobody gave. Raise UsageFault if the method needs one."""
    kind = METHODS[name].options
    if needed := [option for option in click_options(kind) if option.required]:
        given = " ".join(f"{option.opts[0]} {option.metavar}" for option in needed)
        raise UsageFault(
            f"{needed[0].opts[0]} is missing for a new device like the old one, {name}", f"add --with {name} {given}"
        )
    return built(kind, {})


def device_options(kind: str = "Kind of device.") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the argument USER, and the options that all commands that make a device have in common.

    `kind` is the help of --with.
    """
    return add_options(
        click.argument("user"),
        click.option("--with", "method", type=click.Choice(list(METHODS)), help=kind),
        click.option("--name", help="Name of the device in IAM [default: USER, then USER-2 and so on]."),
        click.option("--path", default="/", help="IAM path of the device."),
        new_backup_options,
    )
