"""A key as Carrier: a credential that is written, read back, used and removed."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mfa_kit.adapters.oath.keys import Keys
from mfa_kit.core import otp
from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.core.models import Entry, Intent, Purpose, Reached
from mfa_kit.core.otp import Created, Pair, Seed
from mfa_kit.core.text import without_controls
from mfa_kit.oath_keys.credential import OathKey

# YKOATH, PUT: 64 octets, issuer and period counted.
LONGEST_NAME = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialOptions:
    """How a credential is to live on a key: with touch or without, its asset label, and the classic wait for a code."""

    touch: bool = True
    asset: str | None = None
    wait: bool = False


class ComputesCodes(Protocol):
    """An open applet, as far as `compute_pair` needs it."""

    def code(self, label: str, at: float, *, touch: bool) -> str:
        """Return the code of a Unix time, after a touch where it takes one."""
        ...


def compute_pair(
    applet: ComputesCodes,
    label: str,
    *,
    touch: bool,
    now: Callable[[], float],
    judge: Callable[[int, str], None] = lambda _step, _code: None,
    sleep: Callable[[float], None] | None = None,
) -> Pair:
    """Return the codes of the previous and the current step, as of the end of the touching; `sleep` waits for the next.

    A step that passes while a person touches costs one touch more, for IAM keeps the offset of the pair that it takes.
    """
    shown: dict[int, str] = {}

    def show(step: int) -> None:
        if step not in shown:
            shown[step] = applet.code(label, step * otp.PERIOD, touch=touch)
            judge(step, shown[step])

    if sleep is not None:
        show(otp.step(now()))
        sleep(otp.PERIOD - now() % otp.PERIOD)
    for _ in range(2):
        step = otp.step(now())
        show(step - 1)
        show(step)
        if otp.step(now()) == step:
            break
    last = max(shown)
    return Pair(shown[last - 1], shown[last])


class OathCard:
    """A key as Carrier. `key` is the one that was chosen; None for a dead run, whose intent says which it was."""

    def __init__(
        self,
        keys: Keys,
        key: OathKey | None,
        *,
        options: CredentialOptions,
        now: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._keys, self._key, self._options, self._now, self._sleep = keys, key, options, now, sleep
        self._again = key is None
        self._seeds: dict[str, Seed] = {}
        self._touch = False

    def check(self, intent: Intent, *, sealed: bool) -> Intent:
        """Return the intent with the key that it is to live on. Raise UsageFault, DeviceFault where it does not fit."""
        key = self._key = self._key or self._home(intent)
        label = intent.label
        if len(label.encode()) > LONGEST_NAME:
            most = LONGEST_NAME - len(label.encode()) + len(intent.name)
            raise UsageFault(
                f"{label} is longer than the {LONGEST_NAME} octets that a key holds for a name",
                f"choose a --name of at most {max(most, 1)} characters",
            )
        with self._keys.open(key) as applet:
            names = applet.names()
        if self._again and label.encode() in names:
            return intent
        self._free(label, names)
        if key.left(len(names)) == 0:
            raise DeviceFault(f"{key.description} is full", "delete what is not used: ykman oath accounts delete NAME")
        return intent.on(hardware=self._options.asset or key.serial or key.identity, card=key.identity)

    def _chosen(self) -> OathKey:
        assert self._key is not None  # noqa: S101 - check comes first
        return self._key

    def _free(self, label: str, names: list[bytes]) -> None:
        if label.encode() in names:
            raise DeviceFault(
                f"{self._chosen().description} has a credential {label} already",
                f"choose another --name, or, when nobody uses it: ykman oath accounts delete {label}",
            )

    def install(self, intent: Intent, created: Created) -> None:
        """Write the credential, and read back that it is there, wants its touch, and took no other's place.

        What a dead run wrote is taken as it is; its codes are judged.
        """
        key, label = self._chosen(), intent.label
        with self._keys.open(key) as applet:
            before = applet.names()
            if self._again and label.encode() in before:
                self._seeds[intent.serial], self._touch = created.seed, applet.held()[label.encode()]
                return
            self._free(label, before)
            applet.put(label, created.seed, touch=self._options.touch)
            held = applet.held()
        mine = held.get(label.encode())
        if lost := set(before) - set(held):
            names = ", ".join(sorted(without_controls(name.decode(errors="replace")) for name in lost))
            raise DeviceFault(f"{key.description} lost {names} when {label} was written", "do not use this key")
        if mine is None:
            raise DeviceFault(f"{key.description} said that it stored {label}, and did not", "do not use this key")
        if self._options.touch and not mine:
            raise DeviceFault(
                f"{key.description} does not ask for a touch, though it was told to", "use --no-touch, or another key"
            )
        self._seeds[intent.serial], self._touch = created.seed, mine

    def codes(self, intent: Intent) -> Pair:
        """Two consecutive codes by the key, compared with the seed: the read-back of what was written."""
        seed, key = self._seeds[intent.serial], self._chosen()

        def judge(step: int, code: str) -> None:
            if code != next(otp.codes(seed, range(step, step + 1))):
                raise DeviceFault(f"{key.description} computes other codes than the seed gives", "do not use this key")

        with self._keys.open(key) as applet:
            return compute_pair(
                applet,
                intent.label,
                touch=self._touch,
                now=self._now,
                judge=judge,
                sleep=self._sleep if self._options.wait else None,
            )

    def restore(self, intent: Intent, created: Created) -> bool:
        """Put a seed on one more key, proved by its codes; False when the key had it. Nothing unproved stays."""
        key, label = self._chosen(), intent.label
        with self._keys.open(key) as applet:
            touch = applet.held().get(label.encode())
        if touch is not None:
            self._seeds[intent.serial], self._touch = created.seed, touch
            self.codes(intent)
            return False
        self.check(intent, sealed=True)
        try:
            self.install(intent, created)
            self.codes(intent)
        except BaseException as error:  # Ctrl-C too: nothing unproved stays
            try:
                self._delete(label, key)
            except (DeviceFault, KeyboardInterrupt) as left:
                error.add_note(f"{label} may be left on {key.description}: {str(left) or 'interrupted'}")
            raise
        return True

    def _delete(self, label: str, key: OathKey) -> None:
        with self._keys.open(key) as applet:
            if label.encode() in applet.names():
                applet.delete(label)

    def remove(self, entry: Entry) -> None:
        """Delete this run's credential. Raise DeviceFault when its key is absent; a lost key is not asked for."""
        self._seeds.pop(entry.intent.serial, None)
        if entry.reached is Reached.INTENT or entry.purpose is Purpose.LOST:
            return
        self._delete(entry.intent.label, self._home(entry.intent))

    def _home(self, intent: Intent) -> OathKey:
        """Return the key of a dead run. Raise DeviceFault that asks for it."""
        found, wrong = self._keys.look()
        homes = _homes(intent, found) or self._holding(intent, found)
        if len(homes) > 1:
            raise DeviceFault(
                f"{len(homes)} keys may hold {intent.label}: {', '.join(key.where for key in homes)}",
                "plug in only the one that is meant",
            )
        if not homes:
            raise _absent(intent, found, wrong)
        return homes[0]

    def _holding(self, intent: Intent, found: list[OathKey]) -> list[OathKey]:
        """Return the keys that hold the label, where all that is known of the key is what another desk called it."""
        if intent.card is not None:
            return []
        holding = []
        for key in found:
            with self._keys.open(key) as applet:
                if intent.label.encode() in applet.names():
                    holding.append(key)
        return holding


def _homes(intent: Intent, found: list[OathKey]) -> list[OathKey]:
    """Return the keys that a credential may have been put on: by its identity, by a serial where none is known."""
    if intent.card is not None:
        return [key for key in found if key.identity == intent.card]
    return [key for key in found if key.serial is not None and key.serial == intent.hardware]


def _absent(intent: Intent, found: list[OathKey], wrong: list[DeviceFault]) -> DeviceFault:
    """Ask for the key of a dead run by what people call it, with what is plugged in instead."""
    missing = DeviceFault(
        f"the credential {intent.label} is on {intent.hardware or 'a key'}, which is not plugged in",
        "plug in that key and run: mfa-kit orphans clean; when it is lost or was reset, add: --lost "
        + shlex.quote(intent.hardware or "KEY"),
    )
    for key in found:
        if key.serial is not None and key.serial == intent.hardware:
            missing.add_note(
                f"the key in {key.where} has that serial, but is another one, or was reset: {key.identity}"
            )
    for each in wrong:
        missing.add_note(str(each))
    return missing
