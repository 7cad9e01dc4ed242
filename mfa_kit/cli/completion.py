"""`mfa-kit completion`: what a shell sources to complete commands and options; it never asks AWS."""

import click
from click.shell_completion import get_completion_class

from mfa_kit.cli import flags
from mfa_kit.errors import UsageFault


@click.command(cls=flags.Verb)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(*, shell: str) -> None:
    r"""Print the script that completes mfa-kit in SHELL.

    \b
    bash: mfa-kit completion bash >~/.local/share/bash-completion/completions/mfa-kit
    zsh:  mfa-kit completion zsh >"${fpath[1]}/_mfa-kit"
    fish: mfa-kit completion fish >~/.config/fish/completions/mfa-kit.fish
    """
    found = get_completion_class(shell)
    if found is None:
        raise UsageFault(f"there is no completion for {shell}", "use bash, zsh or fish")
    root = click.get_current_context().find_root().command
    click.echo(found(root, {}, "mfa-kit", "_MFA_KIT_COMPLETE").source())
