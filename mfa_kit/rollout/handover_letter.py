"""The letter to a user of a rollout: its built-in template, and the values of its placeholders."""

from collections.abc import Mapping

from mfa_kit.core.models import Entry
from mfa_kit.rollout.roster import key_fingerprint

# The placeholders of a template. `staged`, `enrolled`, `ssh` and `age` are for conditions: each is "yes" or "".
NAMES = (
    *("user", "email", "account", "device", "file", "fingerprint", "identity", "windows_identity"),
    *("csv_user", "company", "contact", "deadline", "staged", "enrolled", "ssh", "age"),
)
# The usual paths of private keys, by the prefix of the public key: on macOS and Linux, and on Windows.
IDENTITIES = {
    "ssh-ed25519": ("~/.ssh/id_ed25519", r"$HOME\.ssh\id_ed25519"),
    "ssh-rsa": ("~/.ssh/id_rsa", r"$HOME\.ssh\id_rsa"),
    "age1": ("identity.txt", "identity.txt"),
}

TEMPLATE = r"""
# Set up your authenticator app for AWS

This letter is about a new MFA device for your user $user in the AWS account $account.
[company] It comes from $company.

The file that comes with this letter contains the secret that your authenticator app needs to show codes. It is
encrypted to your public key, so only you can open it. This letter contains no secret.

[staged] AWS does not ask you for a code yet. Your administrator enables this device after you have shown that your app
[staged] works: see the last part of this letter.
[enrolled] AWS asks you for a code of this device the next time you sign in.

* User: $user
* Account: $account
* Device: $device
* File: $file
* Encrypted to: $fingerprint
[deadline] * Deadline: $deadline
[contact] * Contact: $contact

## Open the file

You need the private key that belongs to the public key above.
[ssh] It is usually the file $identity. If your key has another path, write that path in the commands.
[age] It is the identity file that you created with age-keygen or an age plugin. If it is not $identity in the current
[age] folder, write its path in the commands.
Save the file, open a terminal in its folder, and type the commands for your computer. They show a picture with a QR
code.

1. macOS:
    brew install age
    age -d -i $identity -o $$TMPDIR/qr.png $file
    open $$TMPDIR/qr.png
2. Windows, in PowerShell:
    winget install --id FiloSottile.age
    age -d -i $windows_identity -o $$env:TEMP\qr.png $file
    start $$env:TEMP\qr.png
3. Linux:
    sudo apt install age
    folder=$$(mktemp -d /dev/shm/qr.XXXXXX)
    age -d -i $identity -o $$folder/qr.png $file
    xdg-open $$folder/qr.png
4. If you have mfa-kit (on Linux, or in WSL on Windows):
    folder=$$(mktemp -d /dev/shm/qr.XXXXXX)
    mfa-kit backup show $file -i $identity -o $$folder/qr.png
    xdg-open $$folder/qr.png

## Scan it

1. Open the authenticator app on your phone, and add an account by scanning a QR code.
2. Scan the picture. The words below the QR code say which account, user and device it is for.
3. Close the picture and delete it. With the picture, anyone can make your codes, so never send it to anyone. These
commands delete it on macOS, on Windows and on Linux, in this order:
    rm $$TMPDIR/qr.png
    Remove-Item $$env:TEMP\qr.png
    rm -r $$folder
[enrolled] 4. Sign in to the AWS console. When it asks for an MFA code, type the code that the app shows. If AWS rejects
[enrolled] it, check that the phone sets its time automatically, and that you read the entry that you just added.

[staged] ## Show that your app works

[deadline] Please do this by $deadline.
You can send the codes by email or chat. They are of no use to anyone else: AWS accepts no code before your device is
enabled, and a code expires after about a minute.

1. Check that the phone sets its time automatically.
2. In the app, wait until a new code appears for this device, and write it down.
3. Wait for the next code, and write it down too.
4. As soon as the second code appears, write down the date and the time that your computer shows, with your time zone.
Do not take the time from the phone, because this time is used to check the phone's clock.
[contact] 5. Send this line to $contact, with your codes and your time:
    $csv_user,123456,234567,2026-11-26T09:32:10+01:00
[no contact] 5. Send this line to your administrator, with your codes and your time:
    $csv_user,123456,234567,2026-11-26T09:32:10+01:00
"""


def letter_values(
    entry: Entry, *, file: str, staged: bool, email: str, company: str, contact: str, deadline: str
) -> Mapping[str, str]:
    """Return the values of all placeholders for the user of a device.

    `file` is the name of the user's encrypted file. `staged` is true if the device is not enabled yet. `email`,
    `company`, `contact` and `deadline` are "" if they are not known.
    """
    user, recipient = entry.intent.user, entry.intent.recipient or ""
    kind = next((prefix for prefix in IDENTITIES if recipient.startswith(prefix)), "age1")
    identity, windows = IDENTITIES[kind]
    return {
        "user": user,
        "csv_user": f'"{user}"' if "," in user else user,  # IAM accepts commas in names, but CSV needs quotes then
        "email": email,
        "account": entry.intent.account,
        "device": entry.intent.name,
        "file": f"./{file}" if file.startswith("-") else file,  # otherwise age takes it for an option
        "fingerprint": key_fingerprint(recipient),
        "identity": identity,
        "windows_identity": windows,
        "company": company,
        "contact": contact,
        "deadline": deadline,
        "staged": "yes" if staged else "",
        "enrolled": "" if staged else "yes",
        "ssh": "" if kind == "age1" else "yes",
        "age": "yes" if kind == "age1" else "",
    }
