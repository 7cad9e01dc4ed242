"""DeviceBackends for display tokens.

AWS has the seed of a hardware TOTP token, and a person types the codes that the token displays. A programmable token
gets the seed of a virtual device. The backends for it refuse a token that failed its test, belongs to another user or
has too little space for the seed. Each wraps another backend, which shows the seed and asks for the codes.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Interaction, Progress
from mfa_kit.core.models import DEVICE_NAME, LABEL, SERIAL, DeviceSpec, JournalEntry, sold_by_aws
from mfa_kit.core.otp import AWS_OCTETS, Created, Pair
from mfa_kit.core.wrong_codes import ADVICE_ON_DISPLAY
from mfa_kit.enrollment.backends import ask_pair
from mfa_kit.enrollment.ports import DeviceBackend

INSTEAD = "a terminal: AWS needs two codes that you read from the display"


class DisplayToken:
    """A DeviceBackend for a hardware TOTP token.

    The token is identified by the serial number that is printed on it. A person types its codes.
    """

    def __init__(self, serial: str, *, now: Callable[[], float], interaction: Interaction, progress: Progress) -> None:
        self._serial, self._now, self._interaction, self._progress = serial, now, interaction, progress

    def check(self, spec: DeviceSpec, *, sealed: bool) -> DeviceSpec:
        """Return the intent with the token's serial. The serial is also the device's name if IAM allows it as a name.

        If a backup was requested (`sealed`), print that none is made. Raise UsageFault if the text cannot be the serial
        of a token, and Declined if there is no terminal at which a person can type the codes.
        """
        if self._serial.startswith("arn:") or not SERIAL.fullmatch(self._serial):
            raise UsageFault(
                f"{self._serial!r} is not the serial number of a token",
                "type the number on the back of the token, such as GAHT12345678",
            )
        if sealed:
            self._progress.note(f"no backup is made: only AWS has the seed of {self._serial}")
        self._interaction.check(instead=INSTEAD)
        if not sold_by_aws(self._serial):
            self._progress.alert(
                f"{self._serial} does not look like the serial number of a token made for AWS, such as GAHT12345678"
            )
        name = self._serial if DEVICE_NAME.fullmatch(self._serial) else spec.name
        return replace(spec, name=name, known_serial=self._serial)

    def install(self, spec: DeviceSpec, created: Created) -> None:
        """Never called, because AWS does not give out the seed of a token."""
        raise AssertionError("AWS does not give out the seed of a token")

    def codes(self, spec: DeviceSpec) -> Pair:
        """Ask a person for two consecutive codes from the display, and return them."""
        self._interaction.say(f"press the button of token {self._serial}, and type the code that it shows")
        return ask_pair(now=self._now, interaction=self._interaction, instead=INSTEAD, advice=ADVICE_ON_DISPLAY)

    def check_reachable(self, entry: JournalEntry) -> None:
        """Check nothing, because a removal does not need the token: nothing was written to it."""

    def remove(self, entry: JournalEntry) -> None:
        """Do nothing, because nothing was written to the token."""


SCAN = (
    "write the secret to the token: scan the QR code with the token's own app or tool (SHA-1, 6 digits, 30 seconds); "
    "then switch the token on and type the code that it shows for {name}"
)
ANOTHER_METHOD = "a terminal: you scan a QR code with the token's app, then type the code that the token shows"
UNSEEN = "-r RECIPIENT, then scan the encrypted backup's QR code"


class CheckedToken:
    """A DeviceBackend for a token that has a serial.

    This class wraps another backend. The argument `check` is a function that takes the serial and the user, and raises
    UsageFault if the token must not be given to that user. The function is called again before each use of the
    token, because another computer may have given the token to a user in the meantime.
    """

    def __init__(self, serial: str, backend: DeviceBackend, *, check: Callable[[str, str], None]) -> None:
        self._serial, self._wrapped, self._check = serial, backend, check

    def check(self, spec: DeviceSpec, *, sealed: bool) -> DeviceSpec:
        """Check that the user may get the token, then return the result of the wrapped backend's `check`.

        The result is a copy of the intent that names the hardware in which the secret will be stored. `sealed` says
        whether an encrypted backup will be made. Raise UsageFault if the token must not be given to the user.
        """
        self._check(self._serial, spec.user)
        return self._wrapped.check(spec, sealed=sealed)

    def install(self, spec: DeviceSpec, created: Created) -> None:
        """Check the token again, then write the secret to it through the wrapped DeviceBackend."""
        self._check(self._serial, spec.user)
        self._wrapped.install(spec, created)

    def codes(self, spec: DeviceSpec) -> Pair:
        """Check the token again, then return two of its codes, from the wrapped DeviceBackend."""
        self._check(self._serial, spec.user)
        return self._wrapped.codes(spec)

    def check_reachable(self, entry: JournalEntry) -> None:
        """Raise Unreachable if the wrapped DeviceBackend could not remove the device's secret."""
        self._wrapped.check_reachable(entry)

    def remove(self, entry: JournalEntry) -> None:
        """Remove the secret that was stored for the device, through the wrapped DeviceBackend."""
        self._wrapped.remove(entry)


class ProgrammableToken:
    """A DeviceBackend for a token that can be programmed.

    This class wraps another backend. The token's serial is stored in the tags of the IAM device. `capacity` is the
    length in bytes of the longest seed that the model stores. If `capacity` is None, the user is asked for this length.
    """

    def __init__(self, serial: str, backend: DeviceBackend, *, capacity: int | None, interaction: Interaction) -> None:
        self._serial, self._wrapped = serial, backend
        self._capacity, self._interaction = capacity, interaction

    def check(self, spec: DeviceSpec, *, sealed: bool) -> DeviceSpec:
        """Return the intent with the token's serial for the device's tags.

        Raise UsageFault if the text is not a serial, or if the model cannot store seeds as long as those of AWS. Raise
        Declined if there is no terminal.
        """
        if not LABEL.fullmatch(self._serial):
            raise UsageFault(
                f"{self._serial!r} is not the serial number of a token", "type the number on the back of the token"
            )
        self._interaction.check(instead=ANOTHER_METHOD)
        capacity = self._capacity or self._asked()
        if capacity < AWS_OCTETS:
            raise UsageFault(
                f"this model stores seeds of up to {capacity} bytes, but AWS's have {AWS_OCTETS}",
                "use a model that stores longer seeds; vendors say which models work with AWS",
            )
        return self._wrapped.check(spec, sealed=sealed).on(hardware=self._serial)

    def _asked(self) -> int:
        typed = self._interaction.ask_code(
            f"the longest seed that this model stores, in bytes (AWS's have {AWS_OCTETS}; see the data sheet)",
            instead="--capacity OCTETS",
        )
        if not re.fullmatch(r"\d{1,3}", typed, re.ASCII):
            raise UsageFault(f"{typed!r} is not a number of bytes", "see the model's data sheet, or ask its vendor")
        return int(typed)

    def install(self, spec: DeviceSpec, created: Created) -> None:
        """Write the secret to the token, through the wrapped DeviceBackend."""
        self._wrapped.install(spec, created)

    def codes(self, spec: DeviceSpec) -> Pair:
        """Return two codes of the token, from the wrapped DeviceBackend."""
        return self._wrapped.codes(spec)

    def check_reachable(self, entry: JournalEntry) -> None:
        """Raise Unreachable if the wrapped DeviceBackend could not remove the device's secret."""
        self._wrapped.check_reachable(entry)

    def remove(self, entry: JournalEntry) -> None:
        """Remove the secret that was stored for the device, through the wrapped DeviceBackend."""
        self._wrapped.remove(entry)
