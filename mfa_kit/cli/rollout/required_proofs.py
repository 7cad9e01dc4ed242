"""The codes that `rollout activate --proofs` or `--prompt` requires as proof before it enables a device."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import JournalEntry
from mfa_kit.core.otp import PERIOD, Created
from mfa_kit.enrollment import code_prompts
from mfa_kit.rollout.activate import results_without_device
from mfa_kit.rollout.outcomes import RowResult
from mfa_kit.rollout.proofs import MOST_LINES, AppProof, ProofLine, prove
from mfa_kit.wiring.settings import Settings

PROOFS = click.option(
    "--proofs",
    type=Path,
    metavar="FILE",
    help="CSV file with user, code1, code2 and time. "
    "Enable only the devices of users whose codes prove that the app works.",
)
PROMPT = click.option("--prompt", metavar="USER", help="Ask for two codes that this user reads to you over the phone.")
ACCEPT_UNKNOWN_CLOCK = click.option(
    "--accept-unknown-clock",
    "accept_unknown",
    is_flag=True,
    help="Accept two codes in --proofs even if their time is missing.",
)
# The advice to the admin after three wrong codes during a phone call.
ADVICE = (
    "three wrong codes: check that the user reads the app's entry for this device, and that the phone sets its clock "
    "automatically. To stop, press Ctrl-C; the device stays staged"
)
INSTEAD = "--proofs FILE"


@dataclass(slots=True, kw_only=True)
class RequiredProofs:
    """The proofs that the command line requires. Without `lines` and `prompt`, no proof is required.

    `lines` maps the lower-case name of each user to that user's lines in the file of proofs. `prompt` is the user who
    reads codes aloud over the phone. `secrets` has the secrets that were decrypted for `prompt`, and `read` has the
    proofs from the phone call, both by the device's serial.
    """

    lines: Mapping[str, Sequence[ProofLine]] | None
    prompt: str | None
    accept_unknown: bool
    secrets: dict[str, Created] = field(default_factory=dict)
    read: dict[str, AppProof] = field(default_factory=dict)

    @property
    def users(self) -> set[str] | None:
        """The lower-case names of the users whose devices may be enabled, or None for all users."""
        if self.prompt is not None:
            return {self.prompt.lower()}
        return None if self.lines is None else set(self.lines)

    def require(self, now: Callable[[], float]) -> Callable[[JournalEntry, Created], AppProof] | None:
        """Return a function that returns the proof for a device, or raises Lockout if the user gave no valid proof.

        If no proof is required, return None instead of a function. `now` returns AWS's time in Unix seconds.
        """
        if self.prompt is not None:
            return lambda entry, _: self.read[entry.spec.serial]
        if (lines := self.lines) is None:
            return None

        def require(entry: JournalEntry, created: Created) -> AppProof:
            of_user = lines[entry.spec.user.lower()]
            return prove(of_user, created.seed, now=now(), accept_unknown=self.accept_unknown)

        return require

    def ask(
        self,
        entries: Sequence[JournalEntry],
        open_backup: Callable[[JournalEntry], Created],
        *,
        settings: Settings,
        ports: "wiring.rollout.RolloutPorts",
    ) -> None:
        """Ask for the codes of the user `prompt`. If `prompt` is None, do nothing.

        `entries` are the user's staged devices. Raise UsageFault unless there is exactly one.
        """
        if self.prompt is None:
            return
        if len(entries) != 1:
            hint = "see: mfa-kit rollout status PLAN" if entries else "check the spelling of the user's name"
            message = f"the ledger has {len(entries) or 'no'} staged devices for {self.prompt}"
            raise UsageFault(f"{message}, but --prompt needs exactly one", hint)
        [entry] = entries
        spec, person = entry.spec, settings.interaction
        person.check(instead=INSTEAD)
        created = self.secrets[spec.serial] = open_backup(entry)
        person.say(f"ask {spec.user} for two consecutive codes from the app's entry {spec.name}")
        now = ports.ports.iam_reader.now
        skew = code_prompts.prove(created.seed, typed=2, now=now, interaction=person, instead=INSTEAD, advice=ADVICE)
        self.read[spec.serial] = AppProof(skew * PERIOD, skew)

    def rows_without_device(
        self, entries: Sequence[JournalEntry], *, selected: set[str] | None, ports: "wiring.rollout.RolloutPorts"
    ) -> list[RowResult]:
        """Return the results of the users in the file of proofs who have no staged device.

        `entries` are the staged devices. If `selected` is not None, leave out users whose names are not in it.
        """
        lines = {
            user: user_lines for user, user_lines in (self.lines or {}).items() if selected is None or user in selected
        }
        staged = {entry.spec.user.lower() for entry in entries}
        return list(results_without_device(lines, staged=staged, ours=ports.ports.journal.made(ports.caller.account)))


def read_required(proofs: Path | None, prompt: str | None, *, accept_unknown: bool, selects: bool) -> RequiredProofs:
    """Return the proofs that the options require. `selects` says whether other options select users.

    Raise click.UsageError for options that exclude each other, and UsageFault if the file of proofs cannot be read.
    """
    if prompt is not None and (proofs or selects):
        raise click.UsageError("--prompt names the only user, so it cannot be used with --proofs, --group or --only")
    if accept_unknown and not proofs:
        raise click.UsageError("--accept-unknown-clock works only with --proofs")
    lines: dict[str, list[ProofLine]] | None = None
    if proofs:
        lines = {}
        for line in wiring.rosters_and_plans.read_proof_lines(proofs):
            of_user = lines.setdefault(line.user.lower(), [])
            if len(of_user) <= MOST_LINES:  # one more shows that there are too many
                of_user.append(line)
    return RequiredProofs(lines=lines, prompt=prompt, accept_unknown=accept_unknown)
