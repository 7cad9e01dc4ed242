"""Writes the instructions for the root ceremony, in which several people give root two MFA devices.

If the break-glass identity needs at least two custodians, no single person can then sign in as root.
"""

from mfa_kit.account.snapshot import CentralRootAccess, GlassUse, OrganizationPlace, Snapshot
from mfa_kit.core.letter import Letter, LetterSection, LetterStep
from mfa_kit.core.text import command

# The paragraph about member accounts. The recommendation is in the IAM user guide, "Centrally manage root access for
# member accounts".
ORGANIZATION = (
    "AWS recommends removing the credentials of root from member accounts. Root of these accounts then has no "
    "password, no access keys, no MFA devices and no way to recover them, so these accounts need no ceremony. Only "
    "the management account keeps the credentials of its root."
)
PURPOSE = (
    "Root can do everything, and no policy limits it. After this ceremony, root has two MFA devices: a security key in "
    "a safe, and a virtual device whose secret the custodians decrypt together. If at least two custodians are needed, "
    "no single person can sign in as root. The loss of one device or one person does not lock you out."
)
RECORD = (
    "The operator, the witness and the custodians sign a record with: the date; the account; who was present, and in "
    "which role; the serial of the security key and where it is; where the password and the phone are; the recipient "
    "of the break-glass identity; and the result of the drill, whose protocol has lines to sign."
)
PICTURE = "/dev/shm/root.png"  # noqa: S108 - the text says that it is in memory


def root_ceremony(snapshot: Snapshot) -> Letter:
    """Return the text of the ceremony for the account of a snapshot. It contains no secret."""
    glass = snapshot.break_glass[-1] if snapshot.break_glass else None
    central = snapshot.central_root
    title = f"Root ceremony for account {snapshot.account}{' (LAB, nothing here is real)' if snapshot.lab else ''}"
    if not snapshot.has_root:
        return Letter(
            title=title,
            paragraphs=("Accounts in this partition have no root user that can sign in. Nothing is needed.",),
        )
    if central is not None and central.place is OrganizationPlace.MEMBER:
        return Letter(
            title=title,
            paragraphs=("This is a member account of an organization.", ORGANIZATION),
            sections=_member(central),
        )
    return Letter(
        title=title,
        paragraphs=(PURPOSE,),
        facts=(("Account", snapshot.account), ("Root at present", str(snapshot.root.verdict)), *_identity(glass)),
        sections=(
            _present(glass),
            _before(glass),
            _security_key(),
            _virtual_device(glass),
            _after(),
            _signed(),
            _repeat(),
            *_organization(central),
        ),
    )


def _identity(glass: GlassUse | None) -> tuple[tuple[str, str], ...]:
    if glass is None:
        return (("Break-glass identity", "none yet"),)
    names = ", ".join(custodian.name for custodian in glass.custodians)
    return (
        ("Break-glass identity", glass.recipient),
        ("Custodians", f"{glass.threshold} of {len(glass.custodians)}: {names}"),
    )


def _present(glass: GlassUse | None) -> LetterSection:
    number = f"{glass.threshold} of the custodians" if glass else "as many custodians as are needed"
    return LetterSection(
        title="Who is present",
        paragraphs=("Everyone stays from the first step to the last one, and no one has two of these roles.",),
        steps=(
            LetterStep(text="The operator, who has the password of root, and uses the computer."),
            LetterStep(text="The witness, who receives the email sent to root's address, and reads each step aloud."),
            LetterStep(text=f"For the drill at the end: {number}, with their keys."),
        ),
    )


def _before(glass: GlassUse | None) -> LetterSection:
    create = "mfa-kit break-glass create --threshold M --custodian NAME=KEY ..."
    recipient = glass.recipient if glass else "RECIPIENT"
    return LetterSection(
        title="Before the day",
        steps=(
            *(() if glass else (LetterStep(text="Make a break-glass identity for M custodians.", commands=(create,)),)),
            LetterStep(
                text="Hold a drill to make sure that the custodians have their keys. The drill needs a backup that is "
                "encrypted to the identity, such as the backup of the first administrator.",
                commands=(
                    command("mfa-kit", "enroll", "ADMIN", "--with", "virtual", "-r", recipient),
                    "mfa-kit break-glass drill",
                ),
            ),
            LetterStep(
                text="Take a new security key, and check that it is genuine. Label it, and prepare an envelope for it.",
                commands=("mfa-kit verify fido2",),
            ),
            LetterStep(text="Check that the email address and the phone number of root belong to the company."),
            LetterStep(text="Choose a computer that all of you trust, and a phone for the virtual device."),
        ),
    )


def _security_key() -> LetterSection:
    return LetterSection(
        title="First device: a security key",
        steps=(
            LetterStep(text="The operator signs in as root, at https://console.aws.amazon.com/, in a private window."),
            LetterStep(
                text="On the page Security credentials, choose 'Assign MFA device', enter the name root-key, and "
                "choose 'Passkey or security key'. mfa-kit waits until root has the key:",
                commands=("mfa-kit enroll --root --with fido2",),
            ),
            LetterStep(text="The witness writes down the serial of the key. The key goes into its envelope."),
        ),
    )


def _virtual_device(glass: GlassUse | None) -> LetterSection:
    recipient = glass.recipient if glass else "RECIPIENT"
    return LetterSection(
        title="Second device: a virtual device, for the custodians",
        paragraphs=(
            "The console shows the QR code once. Anyone who keeps a picture of it can compute the codes forever.",
        ),
        steps=(
            LetterStep(
                text="Choose 'Assign MFA device' once more, enter the name root-account-mfa-device, and choose "
                "'Authenticator app'. Scan the QR code with the phone."
            ),
            LetterStep(text=f"Take a screenshot of the QR code, and save it in a folder in memory, as {PICTURE}."),
            LetterStep(
                text="Encrypt the picture to the break-glass identity. mfa-kit asks for a code from the phone, and "
                "then removes the picture.",
                commands=(
                    command("mfa-kit", "backup", "add", "--root", "--image", PICTURE, "-r", recipient, "--shred"),
                ),
            ),
            LetterStep(text="Type two consecutive codes from the phone into the console, and sign out."),
            LetterStep(
                text="The custodians show that they can open the backup, and that it gives the phone's codes.",
                commands=("mfa-kit break-glass drill --phone root --protocol drill.pdf",),
            ),
            LetterStep(text="Delete the entry from the phone, or put the phone into a different safe than the key."),
        ),
    )


def _after() -> LetterSection:
    return LetterSection(
        title="Check the result",
        steps=(
            LetterStep(
                text="Check that root has no access keys. If it has any, delete them on the Security credentials page.",
                commands=("mfa-kit audit --rule root",),
            ),
            LetterStep(
                text="Check that the backup of root can be opened.", commands=("mfa-kit audit --rule break-glass",)
            ),
            LetterStep(text="Change root's password to a long random one, and put it into an envelope of its own."),
        ),
    )


def _signed() -> LetterSection:
    return LetterSection(
        title="What is signed",
        paragraphs=(RECORD,),
    )


def _repeat() -> LetterSection:
    return LetterSection(
        title="When to repeat",
        steps=(
            LetterStep(text="Every 180 days: the drill of the custodians."),
            LetterStep(text="Every year: the whole ceremony, and a sign-in as root with each device."),
            LetterStep(
                text="After root was used in an emergency, or someone who was present has left: set a new password, "
                "and assign a new virtual device.",
                commands=("mfa-kit break-glass rotate",),
            ),
            LetterStep(
                text="At once, if an envelope was opened or is missing: the whole ceremony. If this envelope held the "
                "security key, remove the key from root first."
            ),
        ),
    )


def _organization(central: CentralRootAccess | None) -> tuple[LetterSection, ...]:
    """Return the section about member accounts, or nothing if the account is in no organization."""
    if central is not None and central.place is OrganizationPlace.ALONE:
        return ()
    if central is not None and central.manages_credentials:
        enable = LetterStep(text="Centralized root access is enabled already.")
    else:
        enable = LetterStep(
            text="Enable centralized root access, in the management account.",
            commands=(
                "aws organizations enable-aws-service-access --service-principal iam.amazonaws.com",
                "aws iam enable-organizations-root-credentials-management",
            ),
        )
    return (
        LetterSection(
            title="In an organization: the other accounts",
            paragraphs=(ORGANIZATION,),
            steps=(
                enable,
                LetterStep(
                    text="For each member account: IAM console, Root access management, Delete root user credentials. "
                    "This command shows which accounts still have root credentials.",
                    commands=("mfa-kit audit --org --rule root",),
                ),
            ),
        ),
    )


def _member(central: CentralRootAccess) -> tuple[LetterSection, ...]:
    state = {
        True: "The organization manages root credentials centrally.",
        False: "The organization does not manage root credentials centrally yet.",
        None: "This account cannot see whether the organization manages root credentials centrally.",
    }[central.manages_credentials]
    step = "In the management account: IAM console, Root access management, this account, Delete root user credentials."
    return (
        LetterSection(
            title="Instead of a ceremony",
            paragraphs=(state,),
            steps=(
                LetterStep(text=step),
                LetterStep(text="Check the result.", commands=("mfa-kit audit --rule root",)),
            ),
        ),
    )
