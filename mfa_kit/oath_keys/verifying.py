"""Verifies OATH keys: whether one is ready for a user, and whether it has the secret of a user's MFA device.

A key's own reports do not prove its manufacturer.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Protocol

from mfa_kit.core import otp
from mfa_kit.core.checks import Check, Failed, Passed, Value, judged
from mfa_kit.core.errors import DeviceFault, InvalidCode, UsageFault
from mfa_kit.core.firmware import Advisory, Version, advisories_on
from mfa_kit.core.models import Caller, Device, DeviceType, intent_of
from mfa_kit.core.notes import Note
from mfa_kit.core.otp import Pair, Seed
from mfa_kit.core.stopping import INTERRUPTS
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.oath_keys.applet import OathApplet, PluggedOathKeys
from mfa_kit.oath_keys.choosing import find_holder
from mfa_kit.oath_keys.credential import OathKey
from mfa_kit.oath_keys.sharing import is_of_account

# The reserved name of the test credential. If a verification is killed, the credential stays on the key until the next.
TEST = "mfa-kit:test"
UNPROVEN = Check(
    "maker",
    Value.NOT_APPLICABLE,
    "not proven: OATH has no attestation; use --maker to check the FIDO attestation of the same key",
)


def maker_check(attested: tuple[Passed | Failed, str | None] | None) -> Check:
    """Return the check of a key's manufacturer, based on the FIDO attestation of the same key.

    `attested` has the verdict on that attestation, and the model that it proves, or None; it is None if the same card
    or USB device has no FIDO applet.
    """
    if attested is None:
        return Check("maker", Value.FAIL, "not proven: no FIDO applet found on the same card or USB device")
    answer, model = attested
    failed = [check.detail for check in answer.checks if check.value is Value.FAIL]
    if model is None or failed:
        why = "; ".join(failed) or "the FIDO attestation does not prove a model"
        return Check("maker", Value.FAIL, f"not proven: {why}")
    return Check("maker", Value.PASS, f"{model}, by the FIDO attestation of the same key")


def verify_key(
    keys: PluggedOathKeys,
    key_name: str | None,
    *,
    account: str | None,
    new_seed: Callable[[], Seed | None],
    now: Callable[[], float],
    made_by: Callable[[OathKey], Check],
    advisories: Iterable[Advisory],
) -> tuple[Passed | Failed, OathKey]:
    """Check a key before it is given to a user. Return the verdict and the key.

    `key_name` is the key's serial, reader or identity; None means the only key, or the one that the user chooses.
    `account` is the AWS account whose credentials are looked for on the key. `new_seed` returns the secret of a test
    credential, or None to write nothing to the key. `made_by` checks the manufacturer. `advisories` are the known ones.
    """
    key = keys.choose(key_name)
    maker, seed = made_by(key), new_seed()
    unlocked = False
    try:
        with keys.open(key) as applet:
            unlocked = True
            answer = judge_fitness(
                key, applet, account=account, seed=seed, time=now(), made_by=maker, advisories=advisories
            )
            return answer, key
    except BaseException as error:
        if seed and unlocked:
            _take_away(keys, key, error)
        raise


def _take_away(keys: PluggedOathKeys, key: OathKey, error: BaseException) -> None:
    """Delete the test credential that an interrupted check may have written.

    If this fails, add a note to the error: the test credential may still be on the key.
    """
    try:
        with INTERRUPTS.settling(), keys.open(key) as applet:
            if TEST.encode() in applet.names():
                applet.delete(TEST)
    except (DeviceFault, KeyboardInterrupt) as left:
        again = "the next mfa-kit verify oath removes it"
        error.add_note(
            Note(f"the credential {TEST} may still be on {key.description}: {str(left) or 'interrupted'}; {again}")
        )


def judge_fitness(
    key: OathKey,
    applet: OathApplet,
    *,
    account: str | None,
    seed: Seed | None,
    time: float,
    made_by: Check = UNPROVEN,
    advisories: Iterable[Advisory],
) -> Passed | Failed:
    """Check a key before it is given to a user, and return the verdict.

    `account` is the AWS account whose credentials are looked for on the key. `seed` is the secret of a test credential;
    without it, nothing is written. `time` is the Unix time for which the test credential's code is computed. `made_by`
    is the check of the manufacturer. `advisories` are the known ones.
    """
    names = applet.names()
    checks = [
        Check("applet", Value.PASS, f"it answers; the key claims to be {key.description}, identity {key.identity}"),
        *_firmware(key, advisories, proven=made_by.value is Value.PASS),
        _room(key, len(names)),
        Check(
            "password",
            Value.PASS,
            "set, and correct" if key.password else "none: anyone who has the key can read its codes",
        ),
    ]
    if account is not None:
        present = ", ".join(name.decode(errors="replace") for name in names if is_of_account(name, account))
        value = Value.WARN if present else Value.PASS
        checks.append(Check("credentials of the account", value, present or f"none of account {account}"))
    skipped = Check("round trip", Value.NOT_APPLICABLE, "skipped: --no-write")
    return judged([*checks, _round_trip(applet, seed, time) if seed else skipped, made_by])


def _firmware(key: OathKey, advisories: Iterable[Advisory], *, proven: bool) -> Iterator[Check]:
    """Yield the checks of the firmware version and of known advisories.

    An advisory is only a warning. The version passes only if the manufacturer is proven.
    """
    if key.firmware is None or not key.yubikey:
        reported = key.firmware or "not reported"
        yield Check("firmware", Value.NOT_APPLICABLE, f"{reported}; advisories are known only for YubiKeys")
        return
    known_advisories = advisories_on(key.what, Version(*map(int, key.firmware.split("."))), advisories)
    passed = Value.PASS if proven else Value.NOT_APPLICABLE
    remark = "" if known_advisories else "; no advisory"
    yield Check("firmware", passed, f"{key.firmware}, as the key reports{remark}")
    for advisory in known_advisories:
        yield Check(f"advisory {advisory.name}", Value.WARN, f"{advisory.what}; {advisory.oath}", advisory.source)


def _room(key: OathKey, used: int) -> Check:
    free_count = key.left(used)
    if free_count is None:
        most = "the key's capacity is unknown" if key.room is None else f"YubiKeys with this firmware hold {key.room}"
        return Check("room", Value.WARN, f"{used} used; {most}")
    return Check("room", Value.PASS, f"{used} used, {free_count} free")


def _round_trip(applet: OathApplet, seed: Seed, time: float) -> Check:
    """Write a test credential, compare its code, delete it, and check that nothing else on the key changed."""
    if TEST.encode() in applet.names():
        applet.delete(TEST)
    before = applet.held()
    try:
        applet.put(TEST, seed, touch=False)
        code = applet.code(TEST, time, touch=applet.held().get(TEST.encode(), False))
        applet.delete(TEST)
    except DeviceFault as fault:
        if TEST.encode() in applet.names():
            applet.delete(TEST)
        return Check("round trip", Value.FAIL, str(fault))
    if applet.held() != before:
        return Check("round trip", Value.FAIL, "the key no longer has the same credentials as before")
    if code != otp.code_at(seed, time):
        return Check("round trip", Value.FAIL, "the key computes codes that do not match the secret")
    return Check(
        "round trip", Value.PASS, "a test credential gave the right code and was deleted; nothing else changed"
    )


# A function that returns whether AWS accepts a code.
Accepts = Callable[[str], bool]


class ConsecutiveCodes(Protocol):
    """Computes two consecutive codes with an applet. The user touches the key if the credential requires it."""

    def __call__(self, applet: OathApplet, label: str, *, touch: bool | None, now: Callable[[], float]) -> Pair:
        """Return the codes of the previous and the current step. `now` is called after the last touch."""
        ...


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
) -> tuple[Passed | Failed, OathKey | None]:
    """Check whether a plugged-in key has the secret of a user's device. Return the verdict, and the key if it is found.

    `key_name` is the key's serial, reader or identity; None means the key with the device's credential. `seed` is the
    secret from the device's backup, or None. If the device belongs to the caller, AWS checks a code too. With
    `resync`, AWS checks two codes instead, for a device of any user, and stores the clock offset. `consecutive`
    computes these two codes.
    """
    spec = intent_of(device.serial, user=device.user or "", account=caller.account, partition=caller.partition)
    label, now = spec.label, ports.iam_reader.now
    listed = Check("listed by IAM", Value.PASS, device.serial)
    key = find_holder(keys, [label], key_name)
    if key is None:
        missing = Check("credential", Value.FAIL, f"no plugged-in key has the credential {label}")
        return judged([listed, missing]), None
    with keys.open(key) as applet:

        def accepts_pair(_code: str) -> bool:
            """Resync the device with two consecutive codes of the key, and return whether IAM accepts them."""
            touch = applet.held().get(label.encode(), False)
            pair = partial(consecutive, applet, label, touch=touch, now=now)
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
        credential = Check("credential", Value.PASS, f"{label} is on {key.description}")
        level = "resync" if resync else "aws"
        return judged([listed, credential, *_codes(applet, label, seed, now=now, accepts=accepts, level=level)]), key


def _codes(
    applet: OathApplet,
    label: str,
    seed: Seed | None,
    *,
    now: Callable[[], float],
    accepts: Accepts | None,
    level: str,
) -> Iterator[Check]:
    """Compute a code on the key, and yield the checks of it.

    If there is a `seed`, the code is compared with it. `accepts` asks AWS whether it accepts this code, or two other
    codes of the key; None means that AWS is not asked. `level` is the name of the check by AWS.
    """
    time = now()
    code = applet.code(label, time, touch=applet.held().get(label.encode(), False))
    right = None if seed is None else code == otp.code_at(seed, time)
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
