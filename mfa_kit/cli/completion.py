"""`mfa-kit completion`: print the shell script that completes commands and options. Completion never calls AWS."""

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


HELP = """Print the completion script for SHELL. Store it in a folder that your shell reads.

\b
bash:
  d=~/.local/share/bash-completion/completions; mkdir -p $d
  mfa-kit completion bash >$d/mfa-kit
zsh:
  mfa-kit completion zsh >"${fpath[1]}/_mfa-kit"
fish:
  mfa-kit completion fish >~/.config/fish/completions/mfa-kit.fish
"""


@click.command(cls=Verb, help=HELP)
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion(*, shell: str, output: Output) -> None:
    """Print the script for a shell, with the commands and options of this program."""
    root = click.get_current_context().find_root().command
    script = SHELLS[shell](root, {}, "mfa-kit", "_MFA_KIT_COMPLETE").source()
    output.text(f"{script}\n")
