"""Reads recipients (public keys) from the command line, from files and from the configuration file."""

from collections.abc import Sequence
from pathlib import Path

from mfa_kit.adapters.files import recipients
from mfa_kit.adapters.files.recipients import Recipient
from mfa_kit.wiring.plugins import open_plugins
from mfa_kit.wiring.settings import config_path, load_config


def read_recipients(texts: Sequence[str], files: Sequence[Path] = (), *, source: str = "-r") -> list[Recipient]:
    """Parse public keys from texts and from files. Raise UsageFault for text that is not a public key.

    `source` says in errors where `texts` come from, such as `-r`.
    """
    return recipients.parse_recipients(texts, files, source=source, plugins=open_plugins())


def configured_recipients() -> list[Recipient]:
    """Read the recipients in the configuration file. Raise UsageFault for the first invalid recipient."""
    return read_recipients(load_config().recipients, source=f"in {config_path()},")


def recipient_text(text: str) -> str:
    """Return a recipient (public key) as the ledger records it. Raise UsageFault if the text is not a public key."""
    return read_recipients([text])[0].text
