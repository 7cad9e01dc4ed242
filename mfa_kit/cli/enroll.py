"""`mfa-kit enroll`: the kind of device decides its options; the order of things is enrollment's."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import click

from mfa_kit.cli import keys, options
from mfa_kit.cli.method_options import built, click_options
from mfa_kit.core.errors import UsageFault
from mfa_kit.wiring.methods.fido2 import Fido2Options
from mfa_kit.wiring.methods.registry import METHODS

EPILOG = (
    "USER is a name, an ARN, or @me.\n\n\b\nKinds, and `mfa-kit enroll --with KIND --help` for the options of one:\n"
    + "\n".join(f"  {kind:<14}{row.help}" for kind, row in METHODS.items())
)


class Enroll(options.Verb):
    """Takes the options of the kind that `--with` names, and refuses others' by name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        kind, names = _kind_in(args), list(METHODS)
        if kind is not None and kind not in METHODS and not ctx.resilient_parsing:
            from mfa_kit.cli.usage import nearest

            raise UsageFault(
                f"there is no kind of device {kind!r}",
                nearest(kind, METHODS, otherwise=f"write --with {', '.join(names[:-1])} or {names[-1]}"),
            )
        ctx.meta["kind"] = kind or ("virtual" if RESUME in args else None)
        ctx.meta["root"] = ROOT in args
        try:
            left = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            for kind, row in METHODS.items():
                if any(error.option_name in option.opts for option in click_options(row.options)):
                    raise UsageFault(
                        f"{error.option_name} belongs to --with {kind}",
                        f"leave it out, or write --with {kind}",
                    ) from None
            raise
        if ctx.meta["kind"] is None and not ctx.resilient_parsing:
            raise click.MissingParameter(ctx=ctx, param=next(p for p in self.params if p.name == "kind"))
        return left

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        row = METHODS.get(ctx.meta.get("kind", "virtual"))
        params = super().get_params(ctx)
        if ctx.meta.get("root"):
            params = [param for param in params if param.name != "user"]
        return [*(click_options(row.options) if row else ()), *params]

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Begin with what is to be known of the kind."""
        row = METHODS.get(ctx.meta.get("kind") or "")
        if row and row.about:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(row.about)
        super().format_help_text(ctx, formatter)


def _kind_in(args: Sequence[str]) -> str | None:
    values = [value for option, value in pairwise(args) if option == "--with"]
    values += [arg.partition("=")[2] for arg in args if arg.startswith("--with=")]
    return values[-1] if values else None


# What goes on with a device does not say again what it is.
RESUME = "--resume"
# Who is no user.
ROOT = "--root"
MAKING = (
    click.argument("user"),
    click.option("--with", "kind", type=click.Choice(list(METHODS)), help="Kind of device."),
    click.option("--name", help="Name of the device in IAM [the user's, then USER-2 and so on]."),
    click.option("--path", default="/", help="IAM path of the device."),
    options.RECIPIENT,
    options.RECIPIENTS_FILE,
    options.PASSPHRASE,
    keys.PASSPHRASE_FD,
    options.BACKUP_DIR,
)


def making(function: Callable[..., None]) -> Callable[..., None]:
    """Add the argument and the options of every verb that makes a device."""
    for decorate in reversed(MAKING):
        function = decorate(function)
    return function


@click.command(cls=Enroll, epilog=EPILOG)
@making
@click.option("--add", is_flag=True, help="Give one more to a user who has a device.")
@click.option(RESUME, "resume", is_flag=True, help="Go on with a half-made device from its sealed backup; needs -i.")
@click.option(ROOT, "root", is_flag=True, help="For the account's root user, in place of USER; --with fido2 alone.")
@options.identity(required=False)
def enroll(
    *,
    user: str = "",
    kind: str | None,
    name: str | None,
    path: str,
    add: bool,
    resume: bool,
    root: bool,
    keys: tuple[Path, ...],
    to: tuple[str, ...],
    to_files: tuple[Path, ...],
    backup_dir: Path | None,
    passphrase: bool,
    passphrase_fd: int | None,
    **own: object,
) -> int:
    """Give USER an MFA device."""
    from mfa_kit.cli.deeds import enroll as deeds
    from mfa_kit.wiring.identities import Identities
    from mfa_kit.wiring.sealing import Sealing

    if root:
        chosen = built(METHODS[kind or "virtual"].options, own)
        if not isinstance(chosen, Fido2Options):
            raise UsageFault("AWS has no API to enroll root", f"give it a security key: {ROOT} --with fido2")
        deeds.root(chosen, name=name, add=add)
    elif resume:
        if not keys:
            raise UsageFault(f"{RESUME} opens the sealed backup", "say with which identity: -i FILE")
        if options.common().dry_run or kind not in {None, "virtual"}:
            raise UsageFault(
                f"{RESUME} goes on with a virtual device, and has no --dry-run", "leave out --with and --dry-run"
            )
        identities = Identities(keys, passphrase_fd=passphrase_fd, person=options.common().interaction)
        deeds.resume(user, identities, own, backup_dir=backup_dir)
    else:
        sealing = Sealing(
            to=to, to_files=to_files, backup_dir=backup_dir, passphrase=passphrase, passphrase_fd=passphrase_fd
        )
        return deeds.enroll(user, str(kind), own, sealing=sealing, name=name, path=path, add=add)
    return 0
