"""The classes Verb (command) and Noun (group), and the options that every command takes, before or after its name."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import click

from mfa_kit.cli import environment
from mfa_kit.cli.environment import ARGUMENTS, Flags, given
from mfa_kit.cli.output import FORMS, HTML, Output, load_place
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import running


class Matching(click.ParamType[str]):
    """A parameter type: text that must match a pattern from its first to its last character.

    `meaning` says what the text should be, such as "the name of a role". It appears in the error for any other text.
    """

    name = "text"

    def __init__(self, pattern: re.Pattern[str], meaning: str, hint: str) -> None:
        self.pattern, self.meaning, self.hint = pattern, meaning, hint

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text. Raise UsageFault if the pattern does not match the whole text."""
        if not self.pattern.fullmatch(value):
            raise UsageFault(f"{value[:80]!a} is not {self.meaning}", self.hint)
        return value


ACCOUNT = Matching(re.compile("[0-9]{12}"), "an AWS account ID", "write the 12 digits of the ID, without dashes")


class TitledOption(click.Option):
    """An option that the help of a command lists under a separate title."""

    def __init__(self, *args: Any, title: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = title


DEVICE = click.option("--mfa-device", "wanted", metavar="NAME|ARN", help="The device, if the user has several.")


class Row(NamedTuple):
    """A row of the table of commands. `line` is the description of the command in the list of commands.

    `held` is the command's function as `module:function`, or the rows of a group. `text` is the help of a group, if it
    differs from the line. A command whose `line` is empty is not listed.
    """

    line: str
    held: "str | Rows"
    text: str = ""


Rows = Mapping[str, Row]


def _purposes(rows: Rows, before: str = "") -> Iterator[tuple[str, str]]:
    """Yield the names of each command and each group in rows and below, such as `key pin set`, and its line."""
    for name, row in rows.items():
        if row.line:
            yield before + name, row.line
        if not isinstance(row.held, str):
            yield from _purposes(row.held, f"{before}{name} ")


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value not in (None, False):
        ctx.find_root().ensure_object(dict)[param.name] = value


def _common(*forms: str) -> list[click.Parameter]:
    def option(*names: str, **how: Any) -> click.Parameter:
        return click.Option(names, callback=_keep, expose_value=False, **how)

    return [
        option("--profile", metavar="NAME", help="AWS profile."),
        option("--region", metavar="NAME", help="AWS region. It also selects the partition."),
        option("--endpoint-url", metavar="URL", help="Override the IAM endpoint (for example the lab's)."),
        option("--account", type=ACCOUNT, metavar="ID", help="Refuse to work in any other account."),
        option("--dry-run", is_flag=True, help="Show what would be done; change and ask nothing."),
        option("--yes", is_flag=True, help="Do not ask for confirmation."),
        option("--no-input", is_flag=True, help="Never prompt."),
        option("--typed", is_flag=True, help="Type your own MFA codes, even if a key has them."),
        option("--ledger", metavar="ADDRESS", help="Use the ledger in this PostgreSQL database."),
        option("--output", type=click.Choice(forms), help="Output form [table]."),
        option("--wide", is_flag=True, help="Show all columns of a table and full values, even if they do not fit."),
        option("--query", metavar="EXPR", help="Print only this part of the JSON: a JMESPath expression."),
        option("--plain", is_flag=True, help="Do not redraw lines or use colors (for screen readers and logs)."),
        option("-q", "--quiet", is_flag=True, help="Print only problems and required actions on stderr."),
        option(
            *("debug", "-v", "--verbose", "--debug"),
            is_flag=True,
            help="Print each call to AWS on stderr, with its request ID.",
        ),
    ]


def write_options(
    ctx: click.Context, formatter: click.HelpFormatter, params: Sequence[click.Parameter], title: str = "Options"
) -> None:
    """List the options in `params` that are not common options, under a title."""
    own = [p for p in params if isinstance(p, click.Option) and p.name not in Flags._fields]
    rows = [row for p in own if (row := p.get_help_record(ctx))]
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)


def write_common_options(ctx: click.Context, formatter: click.HelpFormatter, params: Sequence[click.Parameter]) -> None:
    """List the common options. The help of the program explains them; the help of a command only names them."""
    common_ones = [param for param in params if param.name in Flags._fields]
    if ctx.parent:
        with formatter.section("Common options (explained by mfa-kit --help)"):
            formatter.write_text(" ".join(environment.long_name(param) for param in common_ones))
    else:
        with formatter.section("Common options"):
            formatter.write_dl([row for param in common_ones if (row := param.get_help_record(ctx))])


@contextmanager
def _where(ctx: click.Context) -> Iterator[None]:
    """Add the context of the command to click's usage errors, because click's parser sometimes omits the context."""
    try:
        yield
    except click.UsageError as error:
        error.ctx = error.ctx or ctx
        raise


class Verb(click.Command):
    """A command that is not a group. With `html`, its result can also be an HTML page.

    `forms` has the names of further output forms that the command makes itself, such as asff.

    The command's function can have the parameters `settings` and `output`. A parameter `read_settings` receives a
    function that returns the settings, or raises an error if the configuration file is invalid.

    Without `needs_config`, the command works even if the configuration file is invalid. Commands that decrypt backups
    need this in an emergency. With `acts_at_once`, it refuses --dry-run, because it has no plan to show.
    """

    def __init__(
        self,
        *args: Any,
        html: bool = False,
        forms: Sequence[str] = (),
        needs_config: bool = True,
        acts_at_once: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.own_forms, self.needs_config = (*([HTML] if html else []), *forms), needs_config
        self.acts_at_once = acts_at_once
        self.params += _common(*FORMS, *self.own_forms)

    def invoke(self, ctx: click.Context) -> Any:
        flags = given()
        if flags.quiet and flags.debug:
            raise click.UsageError("give either --quiet or --verbose", ctx)
        if flags.dry_run and self.acts_at_once:
            raise UsageFault(
                f"{ctx.command_path} has no --dry-run, so nothing was done", "omit --dry-run; to read about it: --help"
            )
        # --output may come before the command's name, so it can be checked only here, where the command is known.
        output = Output.of(flags.output, ctx, own=self.own_forms, wide=flags.wide, query=flags.query)
        parameters = inspect.signature(self.callback).parameters if self.callback else {}
        if parameters.keys() & {"output", "settings", "read_settings"}:
            self._give(ctx, output, parameters)
        with running(ctx.command_path):
            return super().invoke(ctx)

    def _give(self, ctx: click.Context, output: Output, parameters: Mapping[str, object]) -> None:
        """Put the parameters that are not options of the command into the context."""
        from mfa_kit.cli import settings

        flags = given()
        if "output" in parameters:
            ctx.params["output"] = output._replace(color=settings.has_color(flags))
        if "settings" in parameters:
            ctx.params["settings"] = settings.read_settings(flags, needs_config=self.needs_config)
        if "read_settings" in parameters:
            ctx.params["read_settings"] = partial(settings.read_settings, flags)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters, with the environment variables of their options."""
        return environment.bind(ctx, super().get_params(ctx))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _where(ctx):
            return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        titled: dict[str, list[click.Parameter]] = {"Options": []}
        for param in self.get_params(ctx):
            titled.setdefault(param.title if isinstance(param, TitledOption) else "Options", []).append(param)
        for title, params in titled.items():
            write_options(ctx, formatter, params, title)
        write_common_options(ctx, formatter, self.get_params(ctx))
        # The help of the program names html, but not the forms that only one command has.
        if special := [form for form in self.own_forms if form != HTML]:
            formatter.write_paragraph()
            formatter.write_text(f"This command also has --output {' and '.join(special)}.")


class Noun(click.Group):
    """A group of commands. Each command is in its own file, which is imported when the command is called."""

    command_class = Verb

    def __init__(self, *args: Any, rows: Rows | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rows = rows or {}
        self.params += _common(*FORMS, HTML)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.rows] or super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        row = self.rows.get(cmd_name)
        if row is None:
            return super().get_command(ctx, cmd_name)
        if not isinstance(row.held, str):
            return Noun(cmd_name, help=row.text or row.line, rows=row.held)
        command: click.Command = load_place(row.held)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their lines from the table, so that no command has to be imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, row.line) for name, row in self.rows.items() if row.line])

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters, with the environment variables of their options."""
        return environment.bind(ctx, super().get_params(ctx))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta.setdefault(ARGUMENTS, [*args])  # the parser of the program runs first and sees all arguments
        with _where(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and not ctx.resilient_parsing and args[0] not in self.list_commands(ctx):
            from mfa_kit.cli.usage import other_commands

            root, group = ctx.find_root().command, ctx.command_path.partition(" ")[2]
            hint = other_commands(args[0], group, dict(_purposes(root.rows)) if isinstance(root, Noun) else {})
            raise UsageFault(f"there is no command {f'{group} {args[0]}'.lstrip()!r}", hint)
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        write_options(ctx, formatter, self.get_params(ctx))
        write_common_options(ctx, formatter, self.get_params(ctx))
