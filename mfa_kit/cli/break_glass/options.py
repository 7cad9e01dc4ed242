"""Options and result rows that several commands of `mfa-kit break-glass` share."""

from collections.abc import Mapping
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.break_glass.creating import NewGroup, WriteLetters, group_of
from mfa_kit.break_glass.custodians import CustodianSet, RecoveryKey
from mfa_kit.break_glass.ports import BreakGlassPorts, K, V
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.letters.sheet import Paper

RECOVERY_KEY_DIR = click.option(
    "--dir", "folder", type=Path, metavar="DIR", help="Folder of the break-glass files [default: the newest]."
)
PRESENT = click.option(
    "-i",
    "--identity",
    "keys",
    multiple=True,
    type=Path,
    metavar="FILE",
    help="Identity of a custodian who is present. Other custodians name theirs at the terminal.",
)
ACCEPT = click.option(
    "--accept-unrecorded",
    "accept",
    is_flag=True,
    help="Ask for the whole recipient of a folder that this computer did not record, and then accept the folder.",
)
THRESHOLD = click.option(
    "--threshold", required=True, type=click.IntRange(min=1), metavar="M", help="How many custodians are needed."
)
CUSTODIAN = click.option(
    "--custodian",
    "custodians",
    multiple=True,
    required=True,
    metavar="NAME[=KEY]",
    help="A custodian's name, and their public key (an age or SSH key). Give this option once for each custodian, in "
    "the order in which they decrypt.",
)
LETTERS = click.option(
    "--letters",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Existing folder for PDF letters: each custodian without KEY gets a new private key, on a letter only.",
)


def new_group(threshold: int, custodians: tuple[str, ...], *, letters: bool) -> NewGroup:
    """Return the group that these options describe. Raise the errors of `group_of`."""
    return group_of(
        threshold,
        custodians,
        letters=letters,
        parse_key=lambda key, source: wiring.age_keys.read_recipients([key], source=source)[0].text,
        new_key=wiring.letters.new_custodian,
    )


def confirm_letters(chosen: NewGroup, folder: Path | None, paper: str, ports: "BreakGlassPorts[K, V]") -> WriteLetters:
    """Return the function that writes letters into a folder. Raise the errors of `NewGroup.confirm_letters`."""

    def file_of(name: str) -> "wiring.letters.LetterFile":
        return wiring.letters.LetterFile(path=(folder or Path()) / f"break-glass-{name}.pdf", paper=Paper(paper))

    return chosen.confirm_letters(ports, file_of, text=wiring.files.packaged_text("letters/custodian.md"))


def print_plan(sizes: Mapping[CustodianSet, int], output: Output) -> None:
    """Print each set of custodians who can open the identity together, and the name and octets of the set's file."""
    rows: list[ResultRow] = [
        {"file": custodian_set.file, "custodians": custodian_set.names, "octets": size}
        for custodian_set, size in sizes.items()
    ]
    output.many("break-glass-plan", rows, empty="")


def recovery_key_row(recovery_key: RecoveryKey, outcome: str) -> ResultRow:
    """Return the result row for a folder of break-glass files that was written."""
    group = recovery_key.manifest.group
    return {
        "outcome": outcome,
        "recipient": recovery_key.manifest.recipient,
        "threshold": group.threshold,
        "custodians": group.names,
        "files": len(group.sets()),
        "folder": str(recovery_key.folder),
    }
