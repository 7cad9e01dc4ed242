"""The enrollment method `fido2`: a FIDO security key that a person registers in the AWS console."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.core.errors import MfaKitError
from mfa_kit.core.models import DeviceType, Method, RosterMethod
from mfa_kit.enrollment.fido_console import REGISTERING
from mfa_kit.enrollment.ports import DeviceBackend
from mfa_kit.rollout.key_slot import InsertedKey, KeySlot
from mfa_kit.wiring.methods.method import OPTION, Context, EnrollmentMethod, Option, Options

if TYPE_CHECKING:
    from mfa_kit.wiring.security_keys import SecurityKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Fido2Options(Options):
    """The options of `--with fido2`."""

    key: str | None = field(
        default=None,
        metadata={
            OPTION: Option(help="The key to use, if several are plugged in.", metavar="SERIAL|PLACE", single=True)
        },
    )
    skip_key_check: bool = field(
        default=False, metadata={OPTION: Option(help="Do not verify the key first; it need not be connected.")}
    )
    require: Path | None = field(
        default=None,
        metadata={
            OPTION: Option(help="Policy file that the key and its certifications in IAM must meet.", metavar="FILE")
        },
    )
    mds: Path | None = field(
        default=None, metadata={OPTION: Option(help="Signed FIDO metadata: blob.jwt.", metavar="FILE")}
    )
    mds_root: Path | None = field(
        default=None,
        metadata={
            OPTION: Option(help="Root certificate of the metadata, if it is not the FIDO Alliance's.", metavar="FILE")
        },
    )
    allow_older: bool = field(
        default=False, metadata={OPTION: Option(help="Accept metadata that is older than metadata used before.")}
    )
    pin_stdin: bool = field(
        default=False, metadata={OPTION: Option(help="Read the key's PIN from stdin, one line.", single=True)}
    )
    asset: str | None = field(
        default=None,
        metadata={
            OPTION: Option(
                help="Name of the key in the ledger [its serial, else its AAGUID].", metavar="LABEL", single=True
            )
        },
    )
    open: bool = field(
        default=False,
        metadata={
            OPTION: Option(help="Open the console page in the browser, signed in with access only to this user's MFA.")
        },
    )
    open_role: str | None = field(
        default=None, metadata={OPTION: Option(help="Role to sign in with [your access keys].", metavar="ARN")}
    )
    timeout: int = field(
        default=600,
        metadata={OPTION: Option(help="Seconds to wait for IAM to list the key.", metavar="SECONDS", least=1)},
    )

    def backend(self, context: Context) -> DeviceBackend:
        """Return a DeviceBackend that verifies the key, and then waits until IAM lists the key.

        With `--skip-key-check` or in a dry run, the DeviceBackend does not verify the key. Raise UsageFault for an
        invalid policy file.
        """
        from mfa_kit.security_keys.at_console import AtConsole
        from mfa_kit.wiring.browser import watch_console

        settings, keys = context.settings, self._keys(context)
        policy = keys.read_policy(self.require)
        watch = watch_console(
            context.iam_reader,
            settings.progress,
            lacking=policy.lacking,
            seconds=self.timeout,
            signed_in=self.open,
            role=self.open_role,
        )
        return AtConsole(
            None if self.skip_key_check or settings.dry_run else partial(keys.examine, self.key, policy),
            watch.make,
            asset=self.asset,
            given_away=context.given_away,
            read=lambda evidence: () if settings.dry_run else keys.all_facts(self.key, evidence, context.oath_keys),
            record=context.record_key,
            progress=settings.progress,
        )

    def slot(self, context: Context) -> KeySlot | None:
        """Return a KeySlot, which reports the inserted security keys. Return None with `--skip-key-check`."""
        return None if self.skip_key_check else SecurityKeySlot(self._keys(context))

    def find_same_device(self, context: Context, reader: str) -> str | None:
        """Return the identity of the security key that is the same device as the card in a reader, or None."""
        return self._keys(context).find_same_device(reader)

    def has_card(self, context: Context, identity: str) -> bool:
        """Return whether a security key is a smart card too."""
        return self._keys(context).is_card(identity)

    def _keys(self, context: Context) -> "SecurityKeys":
        return context.security_keys(
            mds=self.mds, mds_root=self.mds_root, allow_older=self.allow_older, pin_stdin=self.pin_stdin
        )


class SecurityKeySlot:
    """Reports the inserted security keys to the station (`rollout station`, which enrolls people in person)."""

    def __init__(self, keys: "SecurityKeys") -> None:
        self._keys = keys

    def state(self) -> object:
        """Return a value that changes when a key is inserted or removed. Does not access the keys."""
        return self._keys.state()

    def look(self) -> tuple[list[InsertedKey], Sequence[MfaKitError]]:
        """Return the inserted keys, and an error for each key that cannot be opened."""
        keys, wrong = self._keys.look()
        return [
            InsertedKey(
                identity=key.where,
                serial=key.serial,
                description=" ".join(filter(None, [key.product or "security key", key.serial])),
                where=key.where,
            )
            for key in keys
        ], wrong


FIDO2 = Method("fido2", DeviceType.FIDO2)
METHOD = EnrollmentMethod(
    method=FIDO2,
    help="a security key, registered in the AWS console",
    about="IAM has no API to register a security key; you register it in the AWS console. mfa-kit checks the key, "
    "shows or opens the page, and waits until IAM lists the key with its certifications.",
    options=Fido2Options,
    procedure=REGISTERING,
    roster_method=RosterMethod(method=FIDO2),
    call="insert the key for {user}",
    call_user="Insert your key.",
)
