"""Encrypts and decrypts with age plugins: programs for keys that age itself does not support, such as a YubiKey.

pyrage starts the plugin for each file and speaks the plugin protocol (C2SP, age-plugin.md: recipient-v1 and
identity-v1). pyrage searches the PATH for `age-plugin-NAME`, and calls Python for each prompt of the plugin. This
module sets the PATH so that pyrage finds only an allowed program.

pyrage is written in Rust. When Rust code panics, pyo3 raises PanicException. `except Exception` would not catch it,
because it does not derive from Exception. Rust also writes a report of the panic to stderr.
"""

import base64
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import pyrage

from mfa_kit.core.errors import Declined, DeviceFault, IntegrityFault, MfaKitError, UsageFault, WrongIdentityError
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import one_line, without_controls
from mfa_kit.disk.files import fault_of_owner

STDERR = 2
# Part of the message of pyrage.DecryptError for a file that none of the identities can decrypt.
NOT_FOR_US = "No matching keys"
# The first and last line of an armored file (age-encryption.org/v1, "ASCII armor").
ARMOR = (b"-----BEGIN AGE ENCRYPTED FILE-----", b"-----END AGE ENCRYPTED FILE-----")
LINE = 64  # the characters in each line between them but the last
ONE_REDIRECTION = threading.Lock()


def without_armor(content: Secret[bytes]) -> Secret[bytes]:
    """Return the binary form of an armored file (`age -a`). Other content, and damaged armor, are returned unchanged.

    Armor is damaged if age would refuse it (RFC 7468, strict): lines are 64 characters long, but the last may be
    shorter. `content` is a Secret, because it may be an identity file without a passphrase.
    """
    if not content.reveal().lstrip().startswith(ARMOR[0]):
        return content
    text = Secret(content.reveal().strip().replace(b"\r\n", b"\n").split(b"\n"))
    lines = Secret(text.reveal()[1:-1])
    if (text.reveal()[0], text.reveal()[-1]) != ARMOR or not lines.reveal():
        return content
    *whole, last = map(len, lines.reveal())
    if {*whole} - {LINE} or not 0 < last <= LINE:
        return content
    try:
        binary = Secret(base64.b64decode(b"".join(lines.reveal()), validate=True))
    except ValueError:
        return content
    return binary if base64.b64encode(binary.reveal()) == b"".join(lines.reveal()) else content


def count_recipients(sealed: bytes) -> int:
    """Return the number of recipients of an age file (age-encryption.org/v1, "Header").

    Dummy stanzas, whose type ends with `-grease`, are not counted.
    """
    header = without_armor(Secret(sealed)).reveal().partition(b"\n---")[0]
    types = [line.split(b" ")[1] for line in header.split(b"\n") if line.startswith(b"-> ")]
    return sum(not stanza_type.endswith(b"-grease") for stanza_type in types)


@contextmanager
def contain_panics(fault: MfaKitError) -> Iterator[None]:
    """Raise `fault` if pyrage panics in the `with` block."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise fault from None
        raise


@contextmanager
def without_stderr() -> Iterator[None]:
    """Discard what this process writes to stderr during the `with` block, such as the report of a panic.

    Only one thread at a time can be in such a block. Other threads wait.
    """
    with ONE_REDIRECTION:
        yield from _redirected()


def _redirected() -> Iterator[None]:
    try:
        before = os.dup(STDERR)
    except OSError:  # stderr is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, STDERR)
        yield
    finally:
        os.dup2(before, STDERR)
        os.close(nowhere)
        os.close(before)


PROGRAM = "age-plugin-"
# The part of age1pq…, the post-quantum keys of age 1.3, that names a plugin in other keys.
POST_QUANTUM = "pq"
# Phrases in pyrage 1.4's errors: the plugin ended too early (DIED), or it broke the protocol (NONSENSE).
DIED, NONSENSE = "unexpectedly died", "invalid response"
# If this environment variable is set, pyrage writes the file key and the PIN to stderr.
DEBUG = "AGEDEBUG"
# A plugin's reason for a failure is cut to this many characters.
LONGEST_REASON = 200
# In its messages, pyrage puts text from other sources between the characters U+2068 and U+2069 (Unicode isolates).
ISOLATED = re.compile("\u2068([^\u2069]*)\u2069")
ONE_AT_A_TIME = threading.RLock()
T = TypeVar("T")

Identity = pyrage.x25519.Identity | pyrage.ssh.Identity | pyrage.plugin.IdentityPluginV1
PublicKey = (
    pyrage.x25519.Recipient
    | pyrage.ssh.Recipient
    | pyrage.tag.Recipient
    | pyrage.tagpq.Recipient
    | pyrage.plugin.RecipientPluginV1
)
# The exception that a method of Prompts raised in this thread during a call to pyrage. Other threads have no `error`.
RAISED = threading.local()
# After so many seconds, a thread of pyrage reports through Callbacks that the plugin is slow.
SLOW = 10
# How long that thread gets to end, in seconds.
SLOW_THREAD_ENDS = 0.05
# The variables that a plugin does not inherit, because they may have credentials of AWS.
PRIVATE_PREFIX = "AWS_"


class Prompts(Protocol):
    """Shows a plugin's messages and questions to the user.

    A method may raise any exception. The encryption or decryption then ends with this exception.
    """

    def say(self, text: str) -> None:
        """Show a message of a plugin."""
        ...

    def ask(self, prompt: str) -> str:
        """Show a question, and return what the user typed."""
        ...

    def ask_secret(self, prompt: str) -> Secret[str]:
        """Show a question, and return what the user typed without echo, such as a PIN."""
        ...

    def confirm(self, message: str, yes: str, no: str | None) -> bool:
        """Show `message`, and return whether the user chose the answer `yes` and not `no`.

        If `no` is None, `yes` is the only answer.
        """
        ...


class Plugins:
    """The plugins that mfa-kit may run.

    `allowed` returns the absolute paths of their programs. It is called when a recipient or an identity needs a plugin.
    `prompts` shows the messages and questions of plugins.
    """

    def __init__(self, allowed: Callable[[], Sequence[str]], prompts: Prompts) -> None:
        self._allowed, self._prompts = allowed, prompts
        self._known: dict[str, pyrage.plugin.RecipientPluginV1] = {}

    def recipient(self, text: str, *, where: str) -> pyrage.plugin.RecipientPluginV1 | None:
        """Return the recipient `age1NAME1...`, or None if the text is not a recipient of a plugin.

        A test message is encrypted to each recipient once. `where` says in errors where the text comes from. Raise
        UsageFault if the plugin must not or cannot run, and DeviceFault if it refuses the recipient.
        """
        try:
            with without_stderr(), contain_panics(UsageFault("the library panicked", "give another recipient")):
                parsed = pyrage.plugin.Recipient.from_str(text)
        except (pyrage.RecipientError, UsageFault):
            return None
        if text not in self._known:
            with self._only(parsed.plugin(), where):
                callbacks = _Callbacks(self._prompts, parsed.plugin())
                recipient = pyrage.plugin.RecipientPluginV1(parsed.plugin(), [parsed], [], callbacks)
            encrypt(Secret(b"test"), [recipient])
            self._known[text] = recipient
        return self._known[text]

    def identities(self, texts: Sequence[Secret[str]], *, where: str) -> list[Identity]:
        """Parse identities `AGE-PLUGIN-NAME-1...`. Return one object per plugin, which has the plugin's identities.

        `where` says in errors where the texts come from. Raise UsageFault if a plugin must not or cannot run, and
        pyrage.IdentityError if a text is not an identity of a plugin.
        """
        parsed = [pyrage.plugin.Identity.from_str(text.reveal()) for text in texts]
        identities: list[Identity] = []
        for name in dict.fromkeys(identity.plugin() for identity in parsed):
            with self._only(name, where):
                identities.append(pyrage.plugin.IdentityPluginV1(name, parsed, _Callbacks(self._prompts, name)))
        return identities

    @contextmanager
    def _only(self, name: str, where: str) -> Iterator[None]:
        """Let pyrage find only the allowed program of the plugin with this name during the `with` block.

        Raise UsageFault if there is no such program, or it cannot run.
        """
        program = self._program(name, where)
        with ONE_AT_A_TIME, _searching(program.parent):
            try:
                yield
            except (pyrage.EncryptError, pyrage.DecryptError):
                raise UsageFault(
                    f"{program} is not a program that can run", "make it executable, or remove it from age-plugins"
                ) from None

    def _program(self, name: str, where: str) -> Path:
        """Return the path of a plugin's program. Raise UsageFault if the program must not run."""
        program = next((Path(path) for path in self._allowed() if Path(path).name == f"{PROGRAM}{name}"), None)
        if program is None and name == POST_QUANTUM:
            raise UsageFault(
                f"{where} is a post-quantum key of age 1.3 (age1pq…), which mfa-kit does not support",
                "give an age1…, age1tagpq… or SSH key",
            )
        if program is None:
            shown = without_controls(name)
            raise UsageFault(
                f"{where} needs {PROGRAM}{shown}, which the configuration file does not allow",
                f'add its absolute path to the file: age-plugins = ["/usr/bin/{PROGRAM}{shown}"]',
            )
        check_program(program)
        return program


@contextmanager
def _searching(folder: Path) -> Iterator[None]:
    """Set the PATH of this process to one folder during the `with` block. Unset AGEDEBUG permanently."""
    os.environ.pop(DEBUG, None)
    before = os.environ.get("PATH")
    os.environ["PATH"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PATH"]
        else:
            os.environ["PATH"] = before


class Unattended:
    """The Prompts for commands that cannot ask the user. Messages are dropped, and a question raises Declined."""

    def say(self, text: str) -> None:
        """Drop the message."""

    def ask(self, prompt: str) -> str:
        """Raise Declined."""
        raise _unanswered(prompt)

    def ask_secret(self, prompt: str) -> Secret[str]:
        """Raise Declined."""
        raise _unanswered(prompt)

    def confirm(self, message: str, yes: str, no: str | None) -> bool:
        """Raise Declined."""
        raise _unanswered(message)


def _unanswered(question: str) -> Declined:
    return Declined(
        f"a plugin asks a question, but there is no terminal to answer in ({without_controls(question)})",
        "run the command in a terminal",
    )


def check_program(program: Path) -> None:
    """Check that this is the absolute path of a plugin that only this user and root can change.

    Raise UsageFault if it is not.
    """
    if not program.is_absolute() or not program.name.startswith(PROGRAM) or os.pathsep in str(program):
        raise UsageFault(
            f"age-plugins: {program} is not the absolute path of a plugin", f"write it as /usr/bin/{PROGRAM}NAME"
        )
    try:
        real = program.resolve(strict=True)
        checked = [(path, path.stat()) for path in (program.parent, real.parent, real)]
    except (OSError, RuntimeError):
        raise UsageFault(f"age-plugins: there is no file {program}", "install the plugin, or remove its path") from None
    if not (real.is_file() and os.access(real, os.X_OK)):
        raise UsageFault(
            f"age-plugins: {program} is not a program",
            "give the path of the plugin's program file, and make that file executable",
        )
    for path, status in checked:
        if fault := fault_of_owner(path, status):
            raise UsageFault(f"age-plugins: {fault.what}", fault.hint)


def encrypt(content: Secret[bytes], to: Sequence[PublicKey]) -> bytes:
    """Return the content encrypted to all recipients in `to`.

    Raise DeviceFault if a plugin fails, and any exception that a method of Prompts raises.
    """
    plugins = [key for key in to if isinstance(key, pyrage.plugin.RecipientPluginV1)]
    if not plugins:
        return bytes(pyrage.encrypt(content.reveal(), to))
    try:
        with _running("encrypt"):
            return bytes(pyrage.encrypt(content.reveal(), to))
    except pyrage.EncryptError as error:
        raise _fault(str(error), "encrypt") from None


def decrypt(sealed: bytes, keys: Sequence[Identity]) -> bytes:
    """Decrypt with the first identity that can. Plugins run last, because only plugins ask the user questions.

    Raise pyrage.DecryptError if no identity can decrypt the content or if it is damaged, DeviceFault if a plugin fails,
    and any exception that a method of Prompts raises.
    """
    plugins = [key for key in keys if isinstance(key, pyrage.plugin.IdentityPluginV1)]
    if not plugins:
        return bytes(pyrage.decrypt(sealed, keys))
    others = [key for key in keys if not isinstance(key, pyrage.plugin.IdentityPluginV1)]
    try:
        with _running("decrypt"):
            return bytes(pyrage.decrypt(sealed, [*others, *plugins]))
    except pyrage.DecryptError as error:
        if ISOLATED.search(str(error)) or NONSENSE in str(error):
            raise _fault(str(error), "decrypt") from None
        raise


def decrypt_file(sealed: Secret[bytes], keys: Secret[list[Identity]], *, where: str, hint: str) -> Secret[bytes]:
    """Decrypt the content of an age file, which is not armored. `where` names the file in errors.

    Raise WrongIdentityError with `hint` if no identity in `keys` can decrypt it, IntegrityFault if it is damaged, and
    the errors of `decrypt`.
    """
    damaged = IntegrityFault(f"{where} is damaged and cannot be decrypted", "use another copy")
    try:
        with contain_panics(damaged):
            return Secret(decrypt(sealed.reveal(), keys.reveal()))
    except pyrage.DecryptError as error:
        if NOT_FOR_US in str(error):
            raise WrongIdentityError(f"{where} was encrypted to a different key", hint) from None
        raise damaged from None


@contextmanager
def _running(operation: str) -> Iterator[None]:
    """Run plugins in only one thread at a time, so that only one plugin asks the user questions.

    If a method of Prompts raised an exception during the `with` block, raise that exception at the end of the block. If
    pyrage panics, raise DeviceFault.
    """
    with ONE_AT_A_TIME, contain_panics(_fault(NONSENSE, operation)), _without_aws_variables():
        RAISED.error, began = None, time.monotonic()
        try:
            yield
        finally:
            if time.monotonic() - began >= SLOW:
                # pyrage holds the interpreter lock, so its thread has waited for it since it noticed. If the thread
                # got the lock when the interpreter ends, the process would abort.
                time.sleep(SLOW_THREAD_ENDS)
            error, RAISED.error = RAISED.error, None
            if error is not None:
                raise error from None


@contextmanager
def _without_aws_variables() -> Iterator[None]:
    """Remove AWS_* from the environment of new processes during the `with` block.

    `os.environ` keeps the variables, because other threads of this process read them there.
    """
    hidden = {name: text for name, text in os.environ.items() if name.startswith(PRIVATE_PREFIX)}
    for name in hidden:
        os.unsetenv(name)
    try:
        yield
    finally:
        for name, text in hidden.items():
            os.putenv(name, text)


def _fault(text: str, operation: str) -> DeviceFault:
    """Return the error for a plugin's failure. `text` is pyrage's message, and `operation` is "encrypt" or "decrypt".

    The first isolated text in the message is the name of the plugin, and the last one is the reason that it gave.
    """
    isolated = [without_controls(part) for part in ISOLATED.findall(text)]
    plugin = isolated[0] if isolated else "the age plugin"
    if NONSENSE in text or len(isolated) < 2:  # noqa: PLR2004 - a name and a reason
        reason = "it did not follow the protocol of age plugins"
    elif DIED in text:
        reason = "it ended unexpectedly"
    else:
        reason = f"{plugin} says: {isolated[-1][:LONGEST_REASON]}"
    return DeviceFault(
        f"{plugin} could not {operation}: {reason}", "check that its key is connected, and repeat the command"
    )


class _Callbacks:
    """The callbacks for pyrage. They store exceptions in RAISED, because pyrage panics if a callback raises one.

    The texts of the plugin begin with its name, so that nobody takes them for mfa-kit's own.
    """

    def __init__(self, prompts: Prompts, plugin: str) -> None:
        self._prompts, self._plugin = prompts, plugin

    def display_message(self, message: str) -> None:
        self._kept(lambda: self._prompts.say(self._named(message)))

    def confirm(self, message: str, yes_string: str, no_string: str | None) -> bool | None:
        return self._kept(lambda: self._prompts.confirm(self._named(message), yes_string, no_string))

    def request_public_string(self, description: str) -> str | None:
        return self._kept(lambda: self._prompts.ask(self._named(description)))

    def request_passphrase(self, description: str) -> str | None:
        return self._kept(lambda: self._prompts.ask_secret(self._named(description)).reveal())

    def _named(self, text: str) -> str:
        return one_line(f"{PROGRAM}{self._plugin} says: {' '.join(text.split())}")

    @staticmethod
    def _kept(ask: Callable[[], T]) -> T | None:
        """Return the user's answer, or None after an exception.

        If the answer to a question is None, pyrage tells the plugin that the request failed. Also return None in a
        thread of pyrage (SLOW), whose text comes late or amid the answer to a question.
        """
        if getattr(RAISED, "error", RuntimeError) is not None:
            return None
        try:
            return ask()
        except BaseException as error:  # noqa: BLE001 - `_running` raises it again
            RAISED.error = error
            return None


NO_PLUGINS = Plugins(lambda: (), Unattended())
