"""The Carrier (the object that supplies a device's codes) of a hardware TOTP token.

AWS has the token's seed, and a person types the codes that the token displays.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Interaction, Progress
from mfa_kit.core.models import DEVICE_NAME, Entry, Intent
from mfa_kit.core.otp import Created, Pair
from mfa_kit.enrollment.code_prompts import ask_pair
from mfa_kit.tokens.seeds import sold_by_aws

# A serial that IAM accepts (IAM API reference, EnableMFADevice). "GAHT12345678" is the IAM user guide's example.
SERIAL = re.compile(r"[\w+=/:,.@-]{9,256}", re.ASCII)
ADVICE = "three wrong codes: press the button of the token again, and type all digits of each code that it shows"
INSTEAD = "a terminal: AWS needs two codes that you read from the display"


class DisplayToken:
    """A Carrier (the object that supplies a device's codes) for a hardware TOTP token.

    The token is identified by the serial number that is printed on it. A person types its codes.
    """

    def __init__(self, serial: str, *, now: Callable[[], float], interaction: Interaction, progress: Progress) -> None:
        self._serial, self._now, self._interaction, self._progress = serial, now, interaction, progress

    def check(self, intent: Intent, *, sealed: bool) -> Intent:
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
        name = self._serial if DEVICE_NAME.fullmatch(self._serial) else intent.name
        return replace(intent, name=name, known_serial=self._serial)

    def install(self, intent: Intent, created: Created) -> None:
        """Never called, because AWS does not give out the seed of a token."""
        raise AssertionError("AWS does not give out the seed of a token")

    def codes(self, intent: Intent) -> Pair:
        """Ask a person for two consecutive codes from the display, and return them."""
        self._interaction.say(f"press the button of token {self._serial}, and type the code that it shows")
        return ask_pair(now=self._now, interaction=self._interaction, instead=INSTEAD, advice=ADVICE)

    def reach(self, entry: Entry) -> None:
        """Check nothing, because a removal does not need the token: nothing was written to it."""

    def remove(self, entry: Entry) -> None:
        """Do nothing, because nothing was written to the token."""
