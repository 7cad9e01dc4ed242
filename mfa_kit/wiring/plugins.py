"""The age plugins that the configuration file allows, and their prompts on the terminal."""

from contextvars import ContextVar
from pathlib import Path

from mfa_kit.adapters.files.plugins import Plugins, Unattended, check_program
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.otp import Secret
from mfa_kit.wiring.settings import load_config

INSTEAD = "a terminal"
# The person who answers the questions of plugins, or None if the command did not create a Settings object.
person_at_terminal: ContextVar[Interaction | None] = ContextVar("person_at_terminal", default=None)


class TerminalPrompts:
    """Passes the messages and questions of a plugin to the person at the terminal."""

    def __init__(self, person: Interaction) -> None:
        self._person = person

    def say(self, text: str) -> None:
        """Show a message of a plugin."""
        self._person.say(text)

    def ask(self, prompt: str) -> str:
        """Return what the user typed. `ask`, `ask_secret` and `confirm` raise Declined if there is no terminal."""
        return self._person.ask_code(prompt, instead=INSTEAD)

    def ask_secret(self, prompt: str) -> Secret[str]:
        """Return what the user typed without echo, such as a PIN."""
        return self._person.ask_secret(prompt, instead=INSTEAD)

    def confirm(self, message: str, yes: str, no: str | None) -> bool:
        """Return whether the user chose the answer `yes`. If `no` is None, the user can only press Enter."""
        self._person.say(message)
        if no is None:
            self._person.pause(f"{yes}: press Enter", instead=INSTEAD)
            return True
        return self._person.choose("answer", (yes, no), instead=INSTEAD) == 0


def open_plugins(person: Interaction | None = None) -> "Plugins":
    """Return the plugins that the configuration file allows. The file is read when a plugin is needed.

    Plugins ask `person`, else `person_at_terminal`. If both are None, each question raises Declined. Call this function
    in the main thread, because other threads do not have the value of `person_at_terminal`.
    """
    person = person or person_at_terminal.get()
    return Plugins(lambda: load_config().age_plugins, TerminalPrompts(person) if person else Unattended())


def check_configured_plugins() -> int:
    """Return the number of plugins that the configuration file allows. Raise the errors of `check_program` for each."""
    programs = load_config().age_plugins
    for program in programs:
        check_program(Path(program))
    return len(programs)
