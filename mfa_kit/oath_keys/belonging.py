"""Checks whether an OATH key has the secret of a user's MFA device."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mfa_kit.core import otp
from mfa_kit.core.checks import Check, Failed, Passed, Value, judged
from mfa_kit.core.errors import InvalidCode, UsageFault
from mfa_kit.core.models import Caller, Device, DeviceType, intent_of
from mfa_kit.core.otp import Pair, Seed
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.oath_keys.applet import OathApplet, PluggedOathKeys
from mfa_kit.oath_keys.choosing import find_holder
from mfa_kit.oath_keys.credential import OathKey

# A function that returns whether AWS accepts a code.
Accepts = Callable[[str], bool]


class ConsecutiveCodes(Protocol):
    """Computes two consecutive codes with an applet. The user touches the key if the credential requires it."""

    def __call__(self, applet: OathApplet, label: str, *, touch: bool | None, now: Callable[[], float]) -> Pair:
        """Return the codes of the previous and the current step. `now` is called after the last touch."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The claim to check: the credential `label` on a key has the secret of the IAM device `serial`.

    `seed` is the secret from the device's backup, or None if no backup was decrypted.
    """

    serial: str
    label: str
    seed: Seed | None = None

    def agrees(self, code: str, time: float) -> bool | None:
        """Return whether the secret gives this code at a Unix time, or None if there is no secret."""
        step = otp.step(time)
        return None if self.seed is None else code == next(otp.codes(self.seed, range(step, step + 1)))


def check_virtual(device: Device) -> None:
    """Raise UsageFault if a device is not virtual, because an OATH key can only have the secret of a virtual device."""
    if device.type is not DeviceType.VIRTUAL:
        raise UsageFault(
            f"{device.serial} is not a virtual device, so its secret cannot be on a key",
            "select another device with --mfa-device",
        )


def verify_device(
    device: Device,
    key_name: str | None,
    *,
    keys: PluggedOathKeys,
    caller: Caller,
    ports: EnrollmentPorts,
    resync: bool,
    seed: Seed | None,
    consecutive: ConsecutiveCodes,
) -> Passed | Failed:
    """Check whether a plugged-in key has the secret of a user's device. Return the verdict.

    `key_name` is the key's serial, reader or identity; None means the key with the device's credential. `seed` is the
    secret from the device's backup, or None. If the device belongs to the caller, AWS checks a code too. With
    `resync`, AWS checks two codes instead, for a device of any user, and stores the clock offset. `consecutive`
    computes these two codes.
    """
    spec = intent_of(device.serial, user=device.user or "", account=caller.account, partition=caller.partition)
    claim, now = Claim(serial=device.serial, label=spec.label, seed=seed), ports.iam_reader.now
    key = find_holder(keys, spec.label, key_name)
    if key is None:
        return judge_belonging(claim, None, None, now=now, accepts=None)
    with keys.open(key) as applet:

        def accepts_pair(_code: str) -> bool:
            """Resync the device with two consecutive codes of the key, and return whether IAM accepts them.

            `_code` is not used; `judge_belonging` passes it.
            """
            touch = applet.held().get(spec.label.encode(), False)
            pair = partial(consecutive, applet, spec.label, touch=touch, now=now)
            try:
                ports.device_writer.resync(spec.user, device.serial, pair)
            except InvalidCode:
                return False
            return True

        accepts: Accepts | None = None
        if resync:
            accepts = accepts_pair
        elif caller.user == device.user:
            accepts = partial(ports.iam_reader.accepts, device.serial)
        return judge_belonging(claim, key, applet, now=now, accepts=accepts, level="resync" if resync else "aws")


def judge_belonging(
    claim: Claim,
    key: OathKey | None,
    applet: OathApplet | None,
    *,
    now: Callable[[], float],
    accepts: Accepts | None,
    level: str = "aws",
) -> Passed | Failed:
    """Compute a code on the key, check it, and return the verdict. The check fails if there is no key.

    If the claim has a secret, the code is compared with it. `accepts` asks AWS whether it accepts this code, or two
    other codes of the key; None means that AWS is not asked. `level` is the name of the check by AWS in the verdict.
    """
    return judged(_belonging(claim, key, applet, now=now, accepts=accepts, level=level))


def _belonging(
    claim: Claim,
    key: OathKey | None,
    applet: OathApplet | None,
    *,
    now: Callable[[], float],
    accepts: Accepts | None,
    level: str,
) -> Iterator[Check]:
    yield Check("listed by IAM", Value.PASS, claim.serial)
    if key is None or applet is None:
        yield Check("credential", Value.FAIL, f"no plugged-in key has the credential {claim.label}")
        return
    yield Check("credential", Value.PASS, f"{claim.label} is on {key.description}")
    time = now()
    code = applet.code(claim.label, time, touch=applet.held().get(claim.label.encode(), False))
    right = claim.agrees(code, time)
    if right is not None:
        yield Check(
            "backup", _passed(right), f"the code {'matches' if right else 'does not match'} the secret in the backup"
        )
    yield _by_aws(level, taken=accepts(code)) if accepts else _by_seed(right)


def _passed(passed: bool) -> Value:
    return Value.PASS if passed else Value.FAIL


def _by_seed(right: bool | None) -> Check:
    if right is None:
        return Check(
            "level: local", Value.WARN, "the key computed a code, but the code was not checked: only AWS has the secret"
        )
    return Check("level: local", _passed(right), "the key's code was checked with the secret in the backup")


def _by_aws(level: str, *, taken: bool) -> Check:
    late = "AWS rejected the code, perhaps because it already accepted this code or a newer one; try again in a minute"
    return Check(f"level: {level}", _passed(taken), "AWS accepted the code" if taken else late)
