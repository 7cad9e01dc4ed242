"""A FIDO security key, which a person registers in the console."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mfa_kit.core.checks import Proof, Value
from mfa_kit.core.errors import DeviceFault, MfaKitError
from mfa_kit.core.models import DeviceType, Enrolled, Entry, Intent, Method
from mfa_kit.core.otp import Created, Pair
from mfa_kit.enrollment import fido_console as console
from mfa_kit.enrollment.ports import Carrier, Desk, Maker
from mfa_kit.rollout.key_slot import InsertedKey, KeySlot
from mfa_kit.rollout.roster import RosterMethod
from mfa_kit.security_keys.attestation import Evidence, Examined
from mfa_kit.security_keys.key_policy import lacking
from mfa_kit.wiring import fido_console
from mfa_kit.wiring.methods.recipe import Context, Equipment, Options, Recipe, option
from mfa_kit.wiring.security_keys import SecurityKeys, read_key_policy


class AtConsole:
    """The carrier of a security key that a person registers: it checks the key, and holds nothing of ours."""

    def __init__(self, options: "Fido2Options", context: Context) -> None:
        self._options, self._context = options, context
        self._checks_key = not (options.skip_key_check or context.settings.dry_run)
        self._policy = read_key_policy(options.require)
        self._keys = SecurityKeys(
            context.settings, mds=options.mds, mds_root=options.mds_root, pin_stdin=options.pin_stdin
        )
        self._seen = context.given_away

    def check(self, intent: Intent, *, sealed: bool) -> Intent:
        """Verify the key that is plugged in, and name it. Raise DeviceFault when it is refused."""
        label = self._options.asset
        if self._checks_key:
            evidence = self._examine()
            label = label or evidence.before.plugged.serial or evidence.registration.aaguid
        return intent.on(hardware=label) if label else intent

    def _examine(self) -> Evidence:
        """Examine the key, and note what it is. Raise DeviceFault when it is refused, or was given away before."""
        self._seen = self._context.given_away.copy()
        with self._keys.metadata() as published:
            examined = self._keys.examiner(published, self._policy, self._seen).examine(self._options.key)
        if not isinstance(examined, Examined):
            raise DeviceFault("this very key was given to another user before", "take another key")
        if not isinstance(examined.answer, Proof):
            why = "; ".join(f"{c.name}: {c.detail}" for c in examined.answer.checks if c.value is Value.FAIL)
            raise DeviceFault(
                f"the key is refused: {why}",
                "take another key; `mfa-kit verify fido2` tells more, and --skip-key-check leaves this out",
            )
        model = examined.evidence.model
        self._context.settings.progress.note(f"the key is genuine: {model.name if model else 'of an unknown model'}")
        return examined.evidence

    def install(self, intent: Intent, created: Created) -> None:
        """Never called: AWS gives nobody the seed of a security key."""
        raise AssertionError("AWS gives nobody the seed of a security key")

    def codes(self, intent: Intent) -> Pair:
        """Never called: a security key gives no codes."""
        raise AssertionError("a security key gives no codes")

    def remove(self, entry: Entry) -> None:
        """Do nothing, for nothing of ours is on the key."""

    def register(self, intent: Intent, carrier: Carrier, *, desk: Desk, run: str) -> Enrolled:
        """Wait until the key is registered in the console. From then on it is somebody's, and given to no other."""
        watch = console.ConsoleWatch(
            page=self._page,
            lacking=partial(lacking, self._policy),
            seconds=self._options.timeout,
            clock=time.monotonic,
        )
        made = watch.make(intent, carrier, desk=desk, run=run)
        self._context.given_away.become(self._seen)
        return made

    def _page(self, intent: Intent) -> AbstractContextManager[None]:
        return fido_console.open_console_page(
            intent,
            inventory=self._context.inventory,
            progress=self._context.settings.progress,
            signed_in=self._options.open,
            role=self._options.open_role,
        )


class SecurityKeySlot:
    """Where security keys are put in, for the station."""

    def __init__(self, keys: SecurityKeys) -> None:
        self._keys = keys

    def state(self) -> object:
        """Return what changes when a key comes or goes, without touching a card."""
        return self._keys.state()

    def look(self) -> tuple[list[InsertedKey], Sequence[MfaKitError]]:
        """Return the keys that are in, and what is wrong with others."""
        found, wrong = self._keys.look()
        return [
            InsertedKey(
                identity=each.where,
                serial=each.serial,
                description=" ".join(filter(None, [each.product or "security key", each.serial])),
                where=each.where,
            )
            for each in found
        ], wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Fido2Options(Options):
    """The options of `--with fido2`."""

    key: str | None = field(
        default=None,
        metadata=option(help="Which key, when several are plugged in.", metavar="SERIAL|PLACE", single=True),
    )
    skip_key_check: bool = field(default=False, metadata=option(help="Do not verify the key first; none need be here."))
    require: Path | None = field(
        default=None,
        metadata=option(
            help="What the key has to be, here and by IAM's word: a policy file.", metavar="FILE", read=True
        ),
    )
    mds: Path | None = field(
        default=None, metadata=option(help="Signed FIDO metadata, blob.jwt.", metavar="FILE", read=True)
    )
    mds_root: Path | None = field(
        default=None,
        metadata=option(
            help="Root certificate of metadata that is not the FIDO Alliance's.", metavar="FILE", read=True
        ),
    )
    pin_stdin: bool = field(
        default=False, metadata=option(help="Read the key's PIN from standard input, one line.", single=True)
    )
    asset: str | None = field(
        default=None,
        metadata=option(help="What to call the key [its serial, else its AAGUID].", metavar="LABEL", single=True),
    )
    open: bool = field(
        default=False,
        metadata=option(help="Open the page in the browser, signed in for 15 minutes and for this user's MFA alone."),
    )
    open_role: str | None = field(
        default=None, metadata=option(help="The role to sign in with; without it your access keys do.", metavar="ARN")
    )
    timeout: int = field(
        default=600, metadata=option(help="How long to wait for IAM to list the key.", metavar="SECONDS", least=1)
    )

    def equip(self, context: Context) -> Equipment:
        """Return the key that is checked first, and the console where it is registered."""
        key = AtConsole(self, context)
        return Equipment(carrier=key, maker=Maker(key.register, console.registration_steps))

    def slot(self, context: Context) -> KeySlot | None:
        """Return where the key is put in, unless it need not be here."""
        return None if self.skip_key_check else SecurityKeySlot(SecurityKeys(context.settings))


FIDO2 = Method("fido2", DeviceType.FIDO2)
METHOD = Recipe(
    method=FIDO2,
    help="a security key, which a person registers in the console",
    about="IAM has no API to register a security key: that is done on one page of AWS's console. mfa-kit checks "
    "the key, brings you to the page, and waits until IAM lists the key with its certifications.",
    options=Fido2Options,
    how=RosterMethod(method=FIDO2),
    call="insert the key for {user}",
)
