"""The enrollment method `virtual`: a virtual MFA device, on a phone or only in an encrypted backup."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import VIRTUAL, RosterMethod
from mfa_kit.core.otp import KeyUri
from mfa_kit.disk.files import write_new
from mfa_kit.enrollment.backends import BackupAlone, Phone, PhoneSetup
from mfa_kit.enrollment.ports import DeviceBackend
from mfa_kit.wiring.files import check_new, draw, draw_picture
from mfa_kit.wiring.methods.method import OPTION, Context, EnrollmentMethod, Option, Options
from mfa_kit.wiring.settings import harden


class Codes(StrEnum):
    """The source of the codes for EnableMFADevice: the user types two codes or one code, or mfa-kit generates them."""

    TYPED = "typed"
    ONE = "one"
    GENERATED = "generated"


class PlainPicture:
    """Writes a QR code, unencrypted, to a new file.

    Raise UsageFault if the file exists, and the errors of `check_new` for its path.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._written = str(path), False
        if path.exists() or path.is_symlink():
            raise UsageFault(f"{path} already exists", "name a new file: --qr-file FILE")
        check_new(path)

    def write(self, uri: KeyUri) -> None:
        """Write the QR code of a key URI to the file, with mode 0600."""
        write_new(Path(self.path).absolute(), draw_picture(uri))
        self._written = True

    def remove(self) -> None:
        """Remove the file if `write` created it."""
        if self._written:
            Path(self.path).unlink(missing_ok=True)
            self._written = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualOptions(Options):
    """The options of `--with virtual`."""

    codes: Codes = field(
        default=Codes.TYPED,
        metadata={
            OPTION: Option(
                help="typed: two consecutive codes from the phone. one: only one code, to save time. "
                "generated: computed by mfa-kit; the encrypted backup is the only copy of the secret."
            )
        },
    )
    qr_file: Path | None = field(
        default=None,
        metadata={
            OPTION: Option(
                help="Write the QR code to a new file, unencrypted (mode 0600), instead of showing it.",
                metavar="FILE",
                single=True,
            )
        },
    )
    show_secret: bool = field(
        default=False, metadata={OPTION: Option(help="Also show the secret as text, to type it into the app.")}
    )

    @property
    def backup_alone(self) -> bool:
        """Whether mfa-kit generates the codes, so that the backup is the only copy of the secret."""
        return self.codes is Codes.GENERATED

    def backend(self, context: Context) -> DeviceBackend:
        """Return a DeviceBackend that asks for codes or computes them.

        `--codes` chooses where the codes come from. Raise UsageFault if options conflict, or the errors of
        PlainPicture for `--qr-file`.
        """
        if self.backup_alone:
            if self.qr_file or self.show_secret:
                raise UsageFault(
                    "with --codes generated, neither the QR code nor the secret is shown",
                    "omit --qr-file and --show-secret, and use mfa-kit backup show; or use --codes typed",
                )
            return BackupAlone(context.iam_reader.now)
        harden()
        picture = PlainPicture(self.qr_file) if self.qr_file else None
        return Phone(
            context.iam_reader.now,
            interaction=context.settings.interaction,
            draw=draw,
            proof=PhoneSetup(
                typed=1 if self.codes is Codes.ONE else 2,
                grouped=self.show_secret,
                # A dry run writes no file, so there is nothing to confirm.
                picture=None if context.settings.dry_run else picture,
            ),
        )


METHOD = EnrollmentMethod(
    method=VIRTUAL,
    help="an authenticator app, or only an encrypted backup",
    options=VirtualOptions,
    roster_method=RosterMethod(method=VIRTUAL, unattended=True),
    call="{enter} when {user} is here with a phone",
    call_user="Have your phone with an authenticator app ready.",
    resumable=True,
)
