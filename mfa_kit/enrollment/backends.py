"""DeviceBackends for a phone, and for a secret that is only in its backup; and the prompts for codes.

The user scans a QR code and types the codes that the app shows. The typed codes show the skew, in steps, between the
clocks of the phone and AWS. The pair of codes for IAM is computed with that skew just before each request. Slow typing
and throttling therefore do no harm, and IAM stores the true skew.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Protocol, TypeVar

from mfa_kit.core import otp, wrong_codes
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.message import Message, UserAction, Wording, fill, mfa_kit
from mfa_kit.core.models import DeviceSpec, JournalEntry
from mfa_kit.core.otp import Created, KeyUri, Pair, Secret, Seed, Symbol
from mfa_kit.core.wrong_codes import ADVICE, PATIENCE, Mistake

T = TypeVar("T")

FIRST_CODE = Message("first code", action=UserAction.FIRST_CODE)
SECOND_CODE = Message("second code", action=UserAction.SECOND_CODE)
# The maximum number of seconds between two codes that may be consecutive: two periods, and time to type.
APART = 2 * otp.PERIOD + 15


def prove(
    seed: Seed,
    *,
    typed: int,
    now: Callable[[], float],
    interaction: Interaction,
    instead: str,
    shown_by: str = "the phone",
    advice: str = ADVICE,
) -> int:
    """Ask for one code or two consecutive codes, and return the skew in steps, positive if the phone is ahead.

    `typed` is the number of codes, 1 or 2. The other parameters are as in `wrong_codes.diagnose` and `ask_until`. A
    code that is typed late makes the clock look slow. If two codes are typed, the skew is therefore that of the code
    with the shorter delay.
    """
    before: tuple[int, int] | None = None

    def judge(code: str) -> tuple[int, int] | Mistake:
        time = now()
        diagnosis = wrong_codes.diagnose(code, seed, time=time, after=before[0] if before else None, shown_by=shown_by)
        return diagnosis if isinstance(diagnosis, Mistake) else (diagnosis, diagnosis - otp.step(time))

    while True:
        prompt = "code" if typed == 1 else FIRST_CODE if before is None else SECOND_CODE
        reading = ask_until(judge, prompt, now=now, interaction=interaction, instead=instead, advice=advice)
        if typed == 1:
            return reading[1]
        if before is not None and reading[0] == before[0] + 1:
            return max(reading[1], before[1])
        if before is not None:
            interaction.say("you missed a code in between, so the code that you just typed counts as the first")
        before = reading


def ask_pair(*, now: Callable[[], float], interaction: Interaction, instead: str, advice: str = ADVICE) -> Pair:
    """Ask for two consecutive codes of a device whose secret only AWS has, and return them.

    Without the secret, mfa-kit can check only that each has six digits, that they differ, and that they were typed
    within APART seconds. It asks again until the codes pass these checks. `advice` is as in `ask_until`.
    """
    before: tuple[str, float] | None = None

    def judge(typed: str) -> tuple[str, float] | Mistake:
        code = wrong_codes.digits(typed)
        if isinstance(code, Mistake):
            return code
        return wrong_codes.SAME if before and code == before[0] else (code, now())

    while True:
        prompt = FIRST_CODE if before is None else SECOND_CODE
        reading = ask_until(judge, prompt, now=now, interaction=interaction, instead=instead, advice=advice)
        if before is not None and reading[1] - before[1] < APART:
            return Pair(before[0], reading[0])
        if before is not None:
            interaction.say("more than a minute passed in between, so the code that you just typed counts as the first")
        before = reading


def ask_until(
    judge: Callable[[str], T | Mistake],
    prompt: str,
    *,
    now: Callable[[], float],
    interaction: Interaction,
    instead: str,
    advice: str = ADVICE,
) -> T:
    """Ask for a code until the result of `judge` for the typed code is not a Mistake, and return this result.

    Print `advice` after each third mistake. `now` returns AWS's time in Unix seconds, for the countdown to the next
    code. Without a terminal, raise Declined with a hint to use `instead`, for example a command-line option.
    """
    mistakes = count(1)
    while True:
        verdict = judge(
            interaction.ask_code(prompt, instead=instead, seconds_left=lambda: otp.PERIOD - now() % otp.PERIOD)
        )
        if not isinstance(verdict, Mistake):
            return verdict
        interaction.say(f"{verdict.what}: {verdict.hint}")
        if next(mistakes) % PATIENCE == 0:
            interaction.say(advice)


INSTEAD = "--with virtual --codes generated -r RECIPIENT"
# The length of AWS's secrets in octets. It determines the size of the QR code before the secret exists.
SECRET = 40


class QrFile(Protocol):
    """The file for the unencrypted QR code that the user requested, at `path`."""

    path: str

    def write(self, uri: KeyUri) -> None:
        """Write the QR code to the file."""
        ...

    def remove(self) -> None:
        """Remove the file that `write` wrote. Do nothing if `write` was not called."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneSetup:
    """How the secret gets into the phone, and how many codes the user types to prove that the phone has it.

    `typed` is the number of codes, 1 or 2. `shown_by` names the phone in messages. `scan` is the text below the QR
    code, in which `{user}`, `{owners}` (the user's), `{name}` (of the device) and `{it}` (the QR code) are replaced. If
    `grouped` is true, the secret is also shown as text. If `picture` is given, the QR code is written to this file and
    not shown on the screen. `instead` names the options to use without a terminal, and `unseen` the options to use if
    the window is too small for the QR code.
    """

    typed: int = 2
    grouped: bool = False
    shown_by: str = "the phone"
    scan: str = "scan {it} with {owners} authenticator app, then type what the app shows for {name}"
    picture: QrFile | None = None
    instead: str = INSTEAD
    unseen: str = "--qr-file FILE, or make a backup with -r RECIPIENT and scan its QR code"


class Phone:
    """A DeviceBackend for a phone.

    The QR code is on the screen only while the user types codes.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        interaction: Interaction,
        draw: Callable[[Seed, str, str], Symbol],
        proof: PhoneSetup,
    ) -> None:
        self._now, self._interaction, self._draw, self._proof = now, interaction, draw, proof
        self._sealed = False
        self._created: dict[str, Created] = {}
        self._drift: dict[str, int] = {}

    def check(self, spec: DeviceSpec, *, sealed: bool) -> DeviceSpec:
        """Return the intent unchanged. If the QR code will be written unencrypted, ask the user to confirm this.

        Raise Declined without a terminal or confirmation. Raise UsageFault if the window is too small for the QR code,
        and the QR code will be neither in a file nor in a backup.
        """
        self._sealed = sealed
        self._interaction.check(instead=self._proof.instead)
        if picture := self._proof.picture:
            self._interaction.confirm(
                f"{picture.path} will contain the secret of {spec.name} unencrypted, until you delete it",
                typed="yes",
                instead=self._proof.instead,
            )
        elif not sealed:
            self._interaction.check(*self._parts(spec, Seed(bytes(SECRET))), instead=self._proof.unseen)
        return spec

    def install(self, spec: DeviceSpec, created: Created) -> None:
        """Keep the secret in memory. If a file with the QR code was requested, write the file."""
        self._created[spec.serial] = created
        if self._proof.picture:
            self._proof.picture.write(created.uri)

    def codes(self, spec: DeviceSpec) -> Pair:
        """Return the codes of the previous and the current step, by the phone's clock.

        The first call for a device shows the QR code, and asks for codes until these prove that the phone has the
        secret. Later calls ask nothing.
        """
        serial = spec.serial
        if serial not in self._drift:
            self._drift[serial] = self._proved(spec, self._created[serial])
        return otp.pair(self._created[serial].seed, self._now() + self._drift[serial] * otp.PERIOD)

    def check_reachable(self, entry: JournalEntry) -> None:
        """Check nothing, because mfa-kit has no connection to a phone."""

    def remove(self, entry: JournalEntry) -> None:
        """Remove the secret from this process's memory, and the file with its QR code. The phone is not changed."""
        if self._created.pop(entry.spec.serial, None) and self._proof.picture:
            self._proof.picture.remove()

    def _proved(self, spec: DeviceSpec, created: Created) -> int:
        screen = self._interaction
        try:
            self._show(spec, created.seed)
            code, owner = Wording("it", admin="the QR code"), Wording(f"{spec.user}'s", admin="your")
            screen.say(fill(self._proof.scan, user=spec.user, name=spec.name, it=code, owners=owner))
            drift = prove(
                created.seed,
                typed=self._proof.typed,
                now=self._now,
                interaction=screen,
                shown_by=self._proof.shown_by,
                instead=self._proof.instead,
            )
        except BaseException:  # the picture is not needed any more, whatever happens to the device
            if picture := self._proof.picture:
                picture.remove()
            raise
        finally:
            screen.clear()
        screen.say(f"{self._proof.shown_by} shows the correct {'codes' if self._proof.typed > 1 else 'code'}")
        if picture := self._proof.picture:
            screen.say(f"{picture.path} contains the secret unencrypted: delete it now")
        return drift

    def _show(self, spec: DeviceSpec, seed: Seed) -> None:
        if picture := self._proof.picture:
            self._interaction.say(f"the QR code is in {picture.path}")
            return
        try:
            self._interaction.show(*self._parts(spec, seed), instead=self._proof.unseen)
        except UsageFault as small:
            if not self._sealed:
                raise
            self._interaction.say(f"{small}; decrypt the backup in another window, and scan its QR code:")
            self._interaction.say(Message(mfa_kit("backup list"), mfa_kit("backup show FILE -i IDENTITY -o qr.png")))

    def _parts(self, spec: DeviceSpec, seed: Seed) -> list[Secret[str]]:
        symbol = self._draw(seed, spec.name, spec.account)
        return [symbol, otp.grouped(seed)] if self._proof.grouped else [symbol]


class BackupAlone:
    """A DeviceBackend that computes the codes from the secret.

    Apart from this process's memory, the secret is stored only in the encrypted backup.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._seeds: dict[str, Seed] = {}

    def check(self, spec: DeviceSpec, *, sealed: bool) -> DeviceSpec:
        """Return the intent unchanged. Raise UsageFault if there would be no backup."""
        if not sealed:
            raise UsageFault(
                "with --codes generated, the backup is the only copy of the secret, so a recipient is required",
                "add a recipient: -r age1…, -R FILE or --passphrase",
            )
        return spec

    def install(self, spec: DeviceSpec, created: Created) -> None:
        """Keep the secret in this process's memory until `remove` is called."""
        self._seeds[spec.serial] = created.seed

    def codes(self, spec: DeviceSpec) -> Pair:
        """Return the codes of the previous and the current 30 seconds of AWS's time."""
        return otp.pair(self._seeds[spec.serial], self._now())

    def check_reachable(self, entry: JournalEntry) -> None:
        """Do nothing, because there is no hardware."""

    def remove(self, entry: JournalEntry) -> None:
        """Remove the secret from memory. The backup is not changed."""
        self._seeds.pop(entry.spec.serial, None)
