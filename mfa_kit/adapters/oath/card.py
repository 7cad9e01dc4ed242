"""An OATH key as a DeviceBackend, the object that stores a device's secret and supplies its codes.

The secret is stored in a credential on the key. This module writes, checks and later removes the credential.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mfa_kit.adapters.oath.applet import Keys
from mfa_kit.core import otp
from mfa_kit.core.errors import DeviceFault, NoApplet, Unreachable, UsageFault
from mfa_kit.core.message import Message, command, mfa_kit, suggest
from mfa_kit.core.models import DeviceSpec, JournalEntry, JournalState, RunKind
from mfa_kit.core.notes import Note
from mfa_kit.core.otp import Created, Pair, Seed
from mfa_kit.core.stopping import INTERRUPTS
from mfa_kit.core.text import without_controls
from mfa_kit.oath_keys.credential import OathKey, remedy

# The maximum length of a credential's name in octets, including the issuer and the period (YKOATH, PUT).
LONGEST_NAME = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialOptions:
    """Options for writing a credential to an OATH key.

    `touch` says whether the credential requires a touch for each code. `asset` is the asset label of the key, or None.
    With `wait`, enrollment waits for the next code instead of computing two codes at once. `consent` is called with the
    intent and the names of the credentials on the key before anything is made, and raises Declined to prevent that.
    """

    touch: bool = True
    asset: str | None = None
    wait: bool = False
    consent: Callable[[DeviceSpec, list[bytes]], None] = lambda _intent, _names: None


class ComputesCodes(Protocol):
    """The part of an open applet that `compute_pair` needs."""

    def code(self, label: str, time: float, *, touch: bool | None) -> str:
        """Return the code for a Unix time.

        `touch` says whether the credential requires a touch, or is None if that is unknown.
        """
        ...


def compute_pair(
    applet: ComputesCodes,
    label: str,
    *,
    touch: bool | None,
    now: Callable[[], float],
    judge: Callable[[int, str], None] = lambda _step, _code: None,
    sleep: Callable[[float], None] | None = None,
) -> Pair:
    """Return two consecutive codes: of the step before the current step, and of the current step.

    `touch` says whether the credential requires a touch, or is None if that is unknown. `judge` is called with each
    step and its code. `sleep`, if given, is called after the first code to wait for the next step. If a step ends while
    the user touches the key, the code of the next step is computed too. This takes one more touch, but with the older
    codes, IAM would store a wrong clock offset.
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
    """An OATH key as a DeviceBackend.

    `key` is the chosen key. It is None for an interrupted run, because the intent of the run identifies the key.
    """

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
        self._touch: bool | None = False

    def check(self, spec: DeviceSpec, *, sealed: bool) -> DeviceSpec:
        """Check that the key can store the credential. Return the intent, completed with the identity of the key.

        Raise UsageFault or DeviceFault if the key is unsuitable. `sealed` is not used.
        """
        key = self._key = self._key or self._home(spec)
        label = spec.label
        if len(label.encode()) > LONGEST_NAME:
            most = LONGEST_NAME - len(label.encode()) + len(spec.name)
            raise UsageFault(
                f"the name {label} is longer than {LONGEST_NAME} bytes, and a key cannot store it",
                f"choose a --name of at most {max(most, 1)} characters",
            )
        with self._keys.open(key) as applet:
            names = applet.names()
        if self._again and label.encode() in names:
            return spec
        self._free(label, names)
        self._options.consent(spec, names)
        return spec.on(hardware=self._options.asset or key.serial or key.identity, card=key.identity)

    def _chosen(self) -> OathKey:
        assert self._key is not None  # noqa: S101 - callers call check first
        return self._key

    def _free(self, label: str, names: list[bytes]) -> None:
        if label.encode() in names:
            raise DeviceFault(
                f"{self._chosen().description} already has a credential {label}",
                remedy(
                    "choose another --name; or, if that credential is no longer used, delete it",
                    command("ykman oath accounts delete {}", label),
                    reader=self._chosen().reader,
                ),
            )

    def install(self, spec: DeviceSpec, created: Created) -> None:
        """Write the credential, and check the result.

        Raise DeviceFault if the credential is not stored or does not require a touch as requested, or if another
        credential is lost. A credential that an interrupted run wrote is kept, and its codes are checked later.
        """
        key, label = self._chosen(), spec.label
        with self._keys.open(key) as applet:
            before = applet.names()
            if self._again and label.encode() in before:
                self._seeds[spec.serial], self._touch = created.seed, applet.held()[label.encode()]
                return
            self._free(label, before)
            applet.put(label, created.seed, touch=self._options.touch)
            touch_by_name = applet.held()
        if lost := set(before) - set(touch_by_name):
            names = ", ".join(sorted(without_controls(name.decode(errors="replace")) for name in lost))
            raise DeviceFault(f"{key.description} deleted {names} when {label} was written", "do not use this key")
        if label.encode() not in touch_by_name:
            raise DeviceFault(f"{key.description} reported that it stored {label}, but did not", "do not use this key")
        mine = touch_by_name[label.encode()]
        if self._options.touch and not mine:
            raise DeviceFault(
                f"{key.description} does not require a touch, although mfa-kit requested it",
                "use --no-touch, or another key",
            )
        self._seeds[spec.serial], self._touch = created.seed, mine

    def codes(self, spec: DeviceSpec) -> Pair:
        """Return two consecutive codes from the key. Raise DeviceFault if they do not match the secret."""
        seed, key = self._seeds[spec.serial], self._chosen()

        def judge(step: int, code: str) -> None:
            if code != next(otp.codes(seed, range(step, step + 1))):
                raise DeviceFault(
                    f"{key.description} computes codes that do not match the secret", "do not use this key"
                )

        with self._keys.open(key) as applet:
            return compute_pair(
                applet,
                spec.label,
                touch=self._touch,
                now=self._now,
                judge=judge,
                sleep=self._sleep if self._options.wait else None,
            )

    def restore(self, spec: DeviceSpec, created: Created) -> bool:
        """Write a device's secret to the chosen key, and check the codes that the key computes. Return True.

        If the key already has the credential, only check its codes, and return False. If writing or checking a new
        credential fails, remove it. Raise DeviceFault or UsageFault if the key is unsuitable or its codes do not
        match.
        """
        key, label = self._chosen(), spec.label
        with self._keys.open(key) as applet:
            touch_by_name = applet.held()
        if label.encode() in touch_by_name:
            self._seeds[spec.serial], self._touch = created.seed, touch_by_name[label.encode()]
            self.codes(spec)
            return False
        self.check(spec, sealed=True)
        try:
            self.install(spec, created)
            self.codes(spec)
        except BaseException as error:
            # Also after Ctrl-C, remove the credential, so that nothing unverified stays on the key.
            try:
                with INTERRUPTS.settling():
                    self._delete(label, key)
            except (DeviceFault, KeyboardInterrupt) as failure:
                error.add_note(
                    Note(f"the credential {label} may still be on {key.description}: {str(failure) or 'interrupted'}")
                )
            raise
        return True

    def _delete(self, label: str, key: OathKey) -> None:
        with self._keys.open(key) as applet:
            if label.encode() in applet.names():
                applet.delete(label)

    def check_reachable(self, entry: JournalEntry) -> None:
        """Raise Unreachable if several keys match an entry, or if its key is or may be plugged in but cannot be used.

        If the key has a password, it is asked for now. Raise nothing if one key matches, or if all plugged-in keys
        respond and none matches.
        """
        try:
            key = self._home(entry.spec)
        except Unreachable:
            raise
        except DeviceFault:
            return
        try:
            with self._keys.open(key):
                return
        except DeviceFault as fault:
            raise Unreachable(str(fault), fault.hint) from None

    def remove(self, entry: JournalEntry) -> None:
        """Delete the credential that the entry's run wrote, unless the key is lost or nothing was written to it yet.

        Raise DeviceFault if the key is not plugged in.
        """
        self._seeds.pop(entry.spec.serial, None)
        if entry.reached is JournalState.INTENT or entry.purpose is RunKind.LOST:
            return
        self._delete(entry.spec.label, self._home(entry.spec))

    def _home(self, spec: DeviceSpec) -> OathKey:
        """Return the key of an interrupted run. If it is not plugged in, raise a DeviceFault that asks for the key.

        Raise Unreachable if several keys match, or if the key may be plugged in but does not respond.
        """
        keys, wrong = self._keys.look()
        homes = _homes(spec, keys) or self._holding(spec, keys)
        if len(homes) > 1:
            raise Unreachable(
                f"{len(homes)} keys may have the credential {spec.label}: {', '.join(key.where for key in homes)}",
                "plug in only the right key",
            )
        if not homes:
            raise _silent(spec, wrong) or _absent(spec, keys, wrong)
        return homes[0]

    def _holding(self, spec: DeviceSpec, keys: list[OathKey]) -> list[OathKey]:
        """Return the keys that have a credential with the intent's label, if the intent has no key identity (`card`).

        The identity may be missing if another computer wrote the credential. If the intent has an identity, return an
        empty list, because the key with that identity is not plugged in.
        """
        if spec.card is not None:
            return []
        holding = []
        for key in keys:
            with self._keys.open(key) as applet:
                if spec.label.encode() in applet.names():
                    holding.append(key)
        return holding


def _homes(spec: DeviceSpec, keys: list[OathKey]) -> list[OathKey]:
    """Return the keys that match an intent: by identity, or by serial number if the identity is unknown."""
    if spec.card is not None:
        return [key for key in keys if key.identity == spec.card]
    return [key for key in keys if key.serial is not None and key.serial == spec.hardware]


def _silent(spec: DeviceSpec, wrong: list[DeviceFault]) -> DeviceFault | None:
    """Return an error that names the keys that do not respond, because one of them may be the interrupted run's key.

    Return None if there are no such keys.
    """
    silent = [str(fault) for fault in wrong if not isinstance(fault, NoApplet)]
    if not silent:
        return None
    serial = f" {spec.hardware}" if spec.hardware else ""
    return Unreachable(
        f"{'; '.join(silent)}; this may be the key{serial} that has the credential {spec.label}",
        suggest(
            "plug it in again, or unplug it if it is another key, then repeat the command; if the key with the "
            "credential is lost",
            "revoke {} --lost",
            spec.user,
        ),
    )


def _absent(spec: DeviceSpec, keys: list[OathKey], wrong: list[DeviceFault]) -> DeviceFault:
    """Return an error that asks for the key of an interrupted run, by its asset label or serial number.

    Its notes describe the keys that are plugged in instead.
    """
    missing = DeviceFault(
        f"the credential {spec.label} is on {f'the key {spec.hardware}' if spec.hardware else 'a key'}, "
        "which is not plugged in",
        Message(
            "plug in that key and run",
            mfa_kit("orphans clean"),
            "if the key is lost or was reset",
            mfa_kit("orphans clean --lost {}", spec.hardware or "KEY"),
        ),
    )
    for key in keys:
        if key.serial is not None and key.serial == spec.hardware:
            missing.add_note(
                f"the key in {key.where} has that serial number but another identity ({key.identity}), "
                "so it is another key or was reset"
            )
    for fault in wrong:
        missing.add_note(str(fault))
    return missing
