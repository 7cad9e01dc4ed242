"""The texts of printed letters: to a new custodian, to the holder of a security key, and the record of a drill."""

from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote

from mfa_kit.core.letter import Letter, LetterSection, LetterStep
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import count_of
from mfa_kit.letters.sheet import GROUP, GROUPS, PrintedSecret, Sheet

MEMORY = "/dev/shm"  # noqa: S108 - the letter says that it is in memory
# The shell command that prints the check words. `$line` is tested because `read` fails for a last line without a
# newline, although it reads the line.
CHECK_COMMAND = (
    f'fold -w {GROUP * GROUPS} {{}} | while read -r line || [ -n "$line" ]; '
    'do printf %s "$line" | sha256sum | cut -c -4; done'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCustodian:
    """A custodian whose new key is printed in a letter. `identity` is the private key, and `key` the public key."""

    name: str
    key: str
    identity: Secret[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class GlassFacts:
    """What letters say about a break-glass identity: its recipient, its custodians, and how many of them are needed."""

    recipient: str
    threshold: int
    custodians: tuple[str, ...]

    @property
    def needed(self) -> str:
        """How many custodians are needed, and their names."""
        return f"{self.threshold} of {len(self.custodians)}: {', '.join(self.custodians)}"


def custodian_letter(custodian: NewCustodian, glass: GlassFacts, *, date: str) -> Sheet:
    """Return the letter with the identity of a new custodian. `date` is the date on which it was made."""
    file = f"{MEMORY}/{custodian.name}.txt"
    others = [name for name in glass.custodians if name != custodian.name][: max(0, glass.threshold - 1)]
    order = [name for name in glass.custodians if name in {custodian.name, *others}]
    dashed = "-".join(order)
    first, *later_commands = [f"age -d -i {quote(f'{MEMORY}/{name}.txt')}" for name in order]
    pipe = " | ".join([f"{first} {quote(f'set-NN-{dashed}.age')}", *later_commands])
    return Sheet(
        letter=Letter(
            title=f"Break-glass key of {custodian.name}",
            paragraphs=(
                (
                    "This letter contains your private key as a custodian. There is no other copy of the key. Keep the "
                    "letter in a sealed envelope, in a place that only you can open. Let no one copy or photograph it."
                ),
                "Custodians open an encrypted backup together if a phone is lost and there is no other way to sign in. "
                f"For that, {count_of(glass.threshold, 'custodian')} must meet and bring their keys."
                if glass.threshold > 1
                else "A custodian opens an encrypted backup if a phone is lost and there is no other way to sign in. "
                "This key alone is enough for that.",
            ),
            facts=(
                ("Custodian", custodian.name),
                ("Your public key", custodian.key),
                ("Opens backups for", glass.recipient),
                ("Custodians needed", glass.needed),
                ("Made on", date),
            ),
            sections=(
                LetterSection(
                    title="Enter the key into a computer",
                    paragraphs=(
                        (
                            "Do this only in a meeting of the custodians or in a drill. Use a computer that you trust, "
                            "that no one else is signed in to, and whose swap space is encrypted or turned off. Use a "
                            "file in memory, as here, so that no disk keeps the key."
                        ),
                    ),
                    steps=(
                        LetterStep(
                            text="Run the first two commands. Scan the QR code with a reader that keeps no history, or "
                            "type the characters in the frame as one line without spaces. Capital letters matter. "
                            "Press Enter and Ctrl-D. Then clear the window, because it shows the key.",
                            commands=("umask 077", f"cat > {quote(file)}", "clear"),
                        ),
                        LetterStep(
                            text="Check the file. This command must print your public key, as shown above:",
                            commands=(f"age-keygen -y {quote(file)}",),
                        ),
                        LetterStep(
                            text="If the command prints an error, find the line of the frame with the mistake. "
                            "This command prints check words. Compare them with those at the ends of the lines:",
                            commands=(CHECK_COMMAND.format(quote(file)),),
                        ),
                        LetterStep(text="At the end of the meeting, remove the file.", commands=(f"rm {quote(file)}",)),
                    ),
                ),
                LetterSection(
                    title="Open a backup with mfa-kit",
                    steps=(
                        LetterStep(
                            text="When mfa-kit asks for a file, each custodian types the path of theirs, in any order.",
                            commands=("mfa-kit break-glass open --backup BACKUP",),
                        ),
                    ),
                ),
                LetterSection(
                    title="Open a backup without mfa-kit",
                    paragraphs=(
                        (
                            "The folder of the break-glass files has a file for each set of custodians who can "
                            "decrypt together. The name of the file gives the order in which they decrypt, for example:"
                        ),
                    ),
                    steps=(
                        LetterStep(
                            text="The command removes the custodians' layers of encryption, one after the other. "
                            "After each -i is the file with one custodian's key. Replace NN with the number in the "
                            "name of the set's file.",
                            commands=(
                                "umask 077",
                                f"{pipe} > /dev/shm/identity.txt",
                            ),
                        ),
                        LetterStep(
                            text="The result decrypts the backup to a picture of a QR code.",
                            commands=("age -d -i /dev/shm/identity.txt BACKUP > /dev/shm/qr.png",),
                        ),
                        LetterStep(
                            text="After you have scanned the picture, remove both files.",
                            commands=("rm /dev/shm/identity.txt /dev/shm/qr.png",),
                        ),
                    ),
                ),
                LetterSection(
                    title="If this letter is lost, or someone else has read it",
                    paragraphs=(
                        (
                            "Tell the other custodians at once. They then run mfa-kit break-glass custodians with a "
                            "new key for you, and then mfa-kit break-glass rotate, which replaces the identity."
                        ),
                    ),
                ),
            ),
        ),
        secret=PrintedSecret(label="Private key (age identity)", text=custodian.identity, scanned=True),
    )


def pin_letter(key: str, pin: Secret[str], *, date: str) -> Sheet:
    """Return the letter with the PIN of a security key. `key` describes the key, and `date` is when the PIN was set."""
    return Sheet(
        letter=Letter(
            title="PIN of a security key",
            paragraphs=(
                (
                    "Keep this letter apart from the key. After eight wrong PINs the key is blocked, and everything on "
                    "it is lost."
                ),
            ),
            facts=(("Security key", key), ("Set on", date)),
            sections=(
                LetterSection(
                    title="What to do",
                    steps=(
                        LetterStep(text="Choose a PIN of your own.", commands=("mfa-kit key pin change",)),
                        LetterStep(text="Destroy this letter."),
                    ),
                ),
            ),
        ),
        secret=PrintedSecret(label="PIN", text=pin),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillFacts:
    """The result of a drill.

    `held` is the date, as text. `present` are the custodians who opened the identity. `backups` is the number of
    backups that were tested, and `opened` the number of those that passed. `compared` are the users whose phones were
    compared with their backups, and `faults` describes each failure.
    """

    held: str
    present: tuple[str, ...]
    backups: int
    opened: int
    compared: tuple[str, ...] = ()
    faults: Sequence[str] = ()


def drill_protocol(drill: DrillFacts, glass: GlassFacts) -> Sheet:
    """Return the record of a drill, for the custodians to sign. It contains no secret."""
    faults = [LetterSection(title="What was wrong", steps=tuple(map(_step, drill.faults)))] if drill.faults else []
    compared = [("Compared with phones", ", ".join(drill.compared))] if drill.compared else []
    return Sheet(
        letter=Letter(
            title="Break-glass drill",
            paragraphs=(
                (
                    "The custodians named here opened the break-glass identity together. It was in the memory of one "
                    "computer only, and no secret was shown."
                ),
            ),
            facts=(
                ("Held on", drill.held),
                ("Result", "failed" if drill.faults else "passed"),
                ("Identity", glass.recipient),
                ("Custodians", glass.needed),
                ("Present", ", ".join(drill.present)),
                ("Backups", f"{drill.opened} of {drill.backups} opened and found to contain the secret of a device"),
                *compared,
            ),
            sections=(
                *faults,
                LetterSection(
                    title="Signatures",
                    paragraphs=(
                        (
                            "I presented my own key, and I removed all copies of it from this computer. The next "
                            "drill is due within 180 days."
                        ),
                    ),
                ),
            ),
        ),
        signers=drill.present,
    )


def _step(text: str) -> LetterStep:
    return LetterStep(text=text)
