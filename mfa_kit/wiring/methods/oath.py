"""The enrollment method `oath`: the secret is stored on a YubiKey or another OATH key, in a reader or on USB."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.models import DeviceSpec, Method, RosterMethod, check_label
from mfa_kit.core.stopping import sleep
from mfa_kit.enrollment.ports import DeviceBackend
from mfa_kit.oath_keys.sharing import confirm_sharing
from mfa_kit.rollout.key_slot import InsertedKey, KeySlot
from mfa_kit.wiring.methods.method import OPTION, Context, EnrollmentMethod, Option, Options

if TYPE_CHECKING:
    from mfa_kit.wiring.oath_keys import OathKeys


class OathSlot:
    """Reports the inserted OATH keys to the station (`rollout station`, which enrolls people in person)."""

    def __init__(self, keys: "OathKeys") -> None:
        self._keys = keys

    def state(self) -> object:
        """Return a value that changes when a key is inserted or removed."""
        return self._keys.state()

    def look(self) -> tuple[list[InsertedKey], Sequence[DeviceFault]]:
        """Return the inserted keys, and an error for each card that is not a usable key."""
        keys, faults = self._keys.look()
        return [
            InsertedKey(
                identity=key.identity,
                serial=key.serial,
                description=key.description,
                where=key.where,
                labels=key.labels,
            )
            for key in keys
        ], faults


@dataclass(frozen=True, slots=True, kw_only=True)
class OathOptions(Options):
    """The options of `--with oath`."""

    key: str | None = field(
        default=None,
        metadata={
            OPTION: Option(help="The key to use, if several are plugged in.", metavar="SERIAL|READER", single=True)
        },
    )
    touch: bool = field(
        default=True, metadata={OPTION: Option(help="Whether the key must be touched for each code.", off="--no-touch")}
    )
    asset: str | None = field(
        default=None,
        metadata={
            OPTION: Option(
                help="Name for the key, for a tag of the device in IAM [the key's serial].",
                metavar="LABEL",
                single=True,
            )
        },
    )
    wait: bool = field(
        default=False, metadata={OPTION: Option(help="Wait for the next code instead of computing the previous one.")}
    )
    password_stdin: bool = field(
        default=False,
        metadata={
            OPTION: Option(
                help="Read the key's OATH password from stdin, one line.",
                single=True,
            )
        },
    )

    def backend(self, context: Context) -> DeviceBackend:
        """Return a DeviceBackend that stores the secret on an OATH key.

        `--key` names the OATH key. Without this option, the only connected key is used, or the user chooses one of
        several keys. Raise UsageFault for an invalid `--asset`, and DeviceFault if there is no usable key.
        """
        if self.asset is not None:
            check_label(self.asset)
        keys, settings, progress = context.oath_keys, context.settings, context.settings.progress
        chosen = keys.choose(self.key)
        # The ledger records the device of this key once IAM lists it.
        context.record_key(replace(chosen.facts, label=self.asset), None)

        def pause(seconds: float) -> None:
            progress.note(f"waiting {seconds:.0f} s for the next code")
            sleep(seconds)

        return keys.card(
            chosen,
            now=context.iam_reader.now,
            sleep=pause,
            touch=self.touch,
            asset=self.asset,
            wait=self.wait,
            consent=partial(
                confirm_sharing,
                chosen,
                iam_reader=context.iam_reader,
                person=None if settings.yes or settings.dry_run else settings.interaction,
                progress=progress,
                own=context.own_keys,
            ),
        )

    def slot(self, context: Context) -> KeySlot:
        """Return a KeySlot, which reports the inserted OATH keys."""
        return OathSlot(context.oath_keys)


def _backend_of_interrupted_run(context: Context) -> DeviceBackend:
    """Return the DeviceBackend for the devices of interrupted runs.

    It reads the codes of a device from the OATH key on which the device's secret is stored. The journal entry of the
    device names this key.
    """
    return context.oath_keys.card(None, now=context.iam_reader.now)


def _usage(spec: DeviceSpec, context: Context) -> Sequence[str]:
    """Return lines that say how to get codes: with ykman or, if it does not support the key, the maker's program."""
    key = context.oath_keys.seen(spec.card or "")
    code = f"ykman oath accounts code --single {shlex.quote(spec.label)}"
    ykman = key is None or key.ykman
    return [
        "to get a code when the console asks for one: "
        + (code if ykman else f"use the program of the key's maker, and look for the name {spec.label}"),
        "add these lines to ~/.aws/config; the AWS CLI then asks for the code, and aws-vault runs mfa_process:",
        f"  mfa_serial = {spec.serial}",
        f"  mfa_process = {code if ykman else 'the command of that program'}",
    ]


OATH = Method("oath")
METHOD = EnrollmentMethod(
    method=OATH,
    help="a YubiKey or another key with OATH, in a reader or on USB",
    options=OathOptions,
    roster_method=RosterMethod(method=OATH),
    call="insert the key for {user}",
    call_user="Insert your key.",
    backend_of_interrupted_run=_backend_of_interrupted_run,
    on_key=True,
    resumable=True,
    usage=_usage,
)
