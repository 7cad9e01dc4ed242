"""The options that every verb takes, before or after its name, and the command classes Verb and Noun."""

import inspect
import math
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mfa_kit.cli import colors, environment, messages
from mfa_kit.cli.output import FORMS, HTML, Output, load_place
from mfa_kit.cli.shutdown import end_at_once
from mfa_kit.core.errors import MfaKitError, UsageFault

if TYPE_CHECKING:
    from mfa_kit.core.places import Place
    from mfa_kit.wiring.config import Config
    from mfa_kit.wiring.settings import Settings

# The key under which click's context has the whole command line.
ARGUMENTS = "mfa_kit.arguments"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Number(click.FloatRange):
    """A parameter type: a number from 0 up to a maximum.

    click's FloatRange also accepts nan, because nan is not below or above any limit.
    """

    def __init__(self, most: float = 1e6) -> None:
        super().__init__(0, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


class Age(click.ParamType[float]):
    """A parameter type: a length of time such as 30m, 24h or 7d, converted to seconds."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        number, unit = value[:-1], value[-1:]
        if not number.isdecimal() or unit not in UNITS:
            raise UsageFault(f"{value!r} is not a length of time", "write 30m, 24h or 7d")
        return float(number) * UNITS[unit]


class Moment(click.ParamType[float]):
    """A parameter type: a point in time, converted to Unix seconds.

    It is an ISO 8601 date or time (UTC unless it has an offset), or an age such as 7d.
    """

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            try:
                return time.time() - Age().convert(value, param, ctx)
            except UsageFault:
                raise UsageFault(f"{value!r} is not a time", "write 2026-11-25, 2026-11-25T10:00 or 7d") from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class AccountId(click.ParamType[str]):
    """A parameter type: the ID of an AWS account."""

    name = "account ID"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the ID. Raise UsageFault unless the ID has 12 digits."""
        if not re.fullmatch("[0-9]{12}", value):
            raise UsageFault(f"{value!r} is not an AWS account ID", "write the 12 digits of the ID, without dashes")
        return value


class PlaceType(click.ParamType["Place"]):
    """A parameter type: a path on this computer, or an S3 URL."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Place":
        """Return the path or the S3 URL. Raise UsageFault for an invalid URL."""
        from mfa_kit.core.place_text import parse_place

        return parse_place(value) if isinstance(value, str) else value


class TitledOption(click.Option):
    """An option that the help of a command lists under a separate title."""

    def __init__(self, *args: Any, title: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = title


DEVICE = click.option("--mfa-device", "wanted", metavar="NAME|ARN", help="The device, if the user has several.")
RECIPIENT = click.option(
    "-r",
    "--recipient",
    "to",
    multiple=True,
    metavar="RECIPIENT",
    help="Encrypt the backup to this age or SSH public key.",
)
RECIPIENTS_FILE = click.option(
    "-R",
    "--recipients-file",
    "to_files",
    multiple=True,
    type=Path,
    metavar="FILE",
    help="File of recipients, one per line.",
)
PASSPHRASE = click.option(
    "--passphrase", is_flag=True, help="Encrypt the backup to this computer's identity, which a passphrase protects."
)
BACKUP_DIR = click.option(
    "--backup-dir",
    type=PlaceType(),
    metavar="DIR|URL",
    help="Folder of the encrypted backups, or s3://BUCKET/PREFIX.",
)
LOCAL_BACKUPS = click.option(
    "--local-backups",
    is_flag=True,
    help="Write backups to this computer, although other computers share the ledger.",
)

DRILLED_WITHIN = click.option(
    "--drilled-within",
    type=Age(),
    default="90d",
    show_default=True,
    metavar="AGE",
    help="Report devices whose backup was not tested in this time.",
)


def identity(*, required: bool) -> Callable[[Any], Any]:
    """Return a decorator that adds the option for identities that decrypt backups. The values are passed as `keys`."""
    return click.option(
        "-i",
        "--identity",
        "keys",
        multiple=True,
        required=required,
        type=Path,
        metavar="FILE",
        help="age identity (with or without a passphrase) or SSH private key.",
    )


class Row(NamedTuple):
    """A row of the table of commands. `line` is the description of the command in the list of commands.

    `held` is the command's function as `module:function`, or the rows of a group. `text` is the help of a group, if it
    differs from the line. A command whose `line` is empty is not listed. `across` is the function that does the work of
    a command with `account_options` in many accounts, also as `module:function`.
    """

    line: str
    held: "str | Rows"
    text: str = ""
    across: str = ""


Rows = Mapping[str, Row]


class Flags(NamedTuple):
    """The values of the common options, which can be given before or after the name of the command.

    This is not a dataclass, because creating a dataclass would take ten times as long.
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
    dry_run: bool = False
    wide: bool = False
    plain: bool = False
    quiet: bool = False
    debug: bool = False


def given() -> Flags:
    """Return the common options of the command line that is being run."""
    return Flags(**click.get_current_context().find_root().ensure_object(dict))


def command_line() -> str:
    """Return the command that is being run, quoted for a shell. It contains no secret, because no option takes one."""
    return shlex.join(["mfa-kit", *click.get_current_context().meta[ARGUMENTS]])


def form() -> str:
    """Return the output form that the command line names, or "table"."""
    return given().output or "table"


def common(*, needs_config: bool = True) -> "Settings":
    """Return the settings: the options of the command line, and for the other options the configuration file.

    Raise MfaKitError if the configuration file is invalid. Without `needs_config`, print a note instead, and ignore the
    file.
    """
    from mfa_kit.cli import status_line, terminal
    from mfa_kit.wiring.settings import Settings

    def ignore(fault: MfaKitError) -> None:
        if needs_config:
            raise fault
        messages.StderrProgress().alert(f"note: ignoring the configuration file: {fault}")

    said, flags = _configuration(ignore), given()
    plain = flags.plain or bool(said.plain)
    return Settings(
        interaction=terminal.find_person(plain=plain, no_input=flags.no_input),
        progress=status_line.find_progress(plain=plain, quiet=flags.quiet),
        sleep=status_line.countdown_sleep(plain=plain or flags.quiet),
        end=end_at_once,
        config=said,
        profile=said.profile if flags.profile is None else flags.profile,
        region=said.region if flags.region is None else flags.region,
        endpoint_url=flags.endpoint_url,
        account=said.account if flags.account is None else flags.account,
        ledger=said.ledger if flags.ledger is None else flags.ledger,
        yes=flags.yes,
        no_input=flags.no_input,
        dry_run=flags.dry_run,
        plain=plain,
        quiet=flags.quiet,
        debug=flags.debug,
        whole_names=flags.wide or not sys.stderr.isatty(),
    )


def _configuration(on_fault: Callable[[MfaKitError], None]) -> "Config":
    """Return the values in the configuration file.

    If the file is invalid, call `on_fault`. If that raises no exception, return the defaults.
    """
    from mfa_kit.wiring import config

    try:
        return config.load()
    except MfaKitError as fault:
        on_fault(fault)
        return config.Config()


def _has_color() -> bool:
    """Return whether tables are printed with colors."""
    return colors.can_color() and not given().plain and not _configuration(lambda _: None).plain


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
        option("--account", type=AccountId(), metavar="ID", help="Refuse to work in any other account."),
        option("--dry-run", is_flag=True, help="Show what would be done, and change nothing."),
        option("--yes", is_flag=True, help="Do not ask for confirmation."),
        option("--no-input", is_flag=True, help="Never prompt."),
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
    """A command that does something. With `html`, its result can also be an HTML page.

    The verb's function can have the parameters `settings` and `output`. A parameter `read_settings` receives a function
    that returns the settings, or raises an error if the configuration file is invalid.

    Without `needs_config`, the verb works even if the configuration file is invalid. Verbs that decrypt backups need
    this in an emergency. `across` is the function for many accounts from the table of commands, or "".
    """

    across = ""

    def __init__(self, *args: Any, html: bool = False, needs_config: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.html, self.needs_config = html, needs_config
        self.params += _common(*FORMS, *([HTML] if html else []))

    def invoke(self, ctx: click.Context) -> Any:
        if given().quiet and given().debug:
            raise click.UsageError("give either --quiet or --verbose", ctx)
        # The form may be given before the verb, so it can be checked only here, where the verb is known too.
        flags = given()
        output = Output.of(flags.output, ctx, html=self.html, wide=flags.wide, query=flags.query)
        wanted = inspect.signature(self.callback).parameters if self.callback else {}
        if "output" in wanted:
            ctx.params["output"] = output._replace(color=_has_color())
        if "settings" in wanted:
            ctx.params["settings"] = common(needs_config=self.needs_config)
        if "read_settings" in wanted:
            ctx.params["read_settings"] = common
        return super().invoke(ctx)

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


class Noun(click.Group):
    """A group of verbs. Each verb is in its own file, which is imported when the verb is called."""

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
        if isinstance(command, Verb):
            command.across = row.across
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their lines from the table, so that no verb has to be imported."""
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
            from mfa_kit.cli.usage import nearest

            path = ctx.command_path
            hint = nearest(args[0], self.list_commands(ctx), before=f"{path} ", otherwise=f"see {path} --help")
            words = [*path.split()[1:], args[0]]
            raise UsageFault(f"there is no command {' '.join(words)!r}", hint)
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        write_options(ctx, formatter, self.get_params(ctx))
        write_common_options(ctx, formatter, self.get_params(ctx))
