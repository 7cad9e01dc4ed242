"""Encrypts a short text, such as the new PIN of a key, into a file of its own."""

from collections.abc import Sequence
from pathlib import Path

from mfa_kit.adapters.files.plugins import NO_PLUGINS, Plugins, encrypt
from mfa_kit.adapters.files.private_files import write_new
from mfa_kit.adapters.files.recipients import parse_recipients
from mfa_kit.core.otp import Secret


def seal_text(
    path: Path, text: Secret[str], to: Sequence[str], to_files: Sequence[Path], *, plugins: Plugins = NO_PLUGINS
) -> None:
    """Encrypt a short text into a new file. `to` and the lines of `to_files` are the recipients' public keys.

    `plugins` are the age plugins that may run for these keys. Raise UsageFault if a key is not a recipient, DeviceFault
    if a plugin fails, and IntegrityFault if the file cannot be written. No incomplete file remains.
    """
    recipients = parse_recipients(to, to_files, plugins=plugins)
    write_new(path, encrypt(Secret(text.reveal().encode()), [each.key for each in recipients]))
