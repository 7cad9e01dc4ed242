"""The description of an enrollment method and of its options."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol, get_args

from mfa_kit.core.models import DeviceSpec, Method, RosterMethod
from mfa_kit.enrollment.backends import BackupAlone
from mfa_kit.enrollment.making import CREATING
from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentProcedure, IamReader
from mfa_kit.security_keys.ports import SeenKeys
from mfa_kit.wiring.settings import Settings

if TYPE_CHECKING:
    from mfa_kit.core.recorded_keys import KeyDevice, KeyFacts
    from mfa_kit.rollout.key_slot import KeySlot
    from mfa_kit.wiring.oath_keys import OathKeys
    from mfa_kit.wiring.security_keys import SecurityKeys

# The key of the Option in the metadata of a dataclass field.
OPTION = "option"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A command-line option of an enrollment method. It is in the metadata of a field of the method's options class.

    That field, for example of `VirtualOptions`, has the option's name, type and default.

    `single` means that the value belongs to one device, such as its serial. Commands that make many devices do not have
    such an option, because they take the value from the roster or from the inserted key. `off` is a second flag, which
    sets the option to False. `least` and `most` are the limits of a number.
    """

    help: str
    metavar: str | None = None
    single: bool = False
    off: str | None = None
    least: int | None = None
    most: int | None = None


def _unopened(**options: object) -> NoReturn:
    raise AssertionError(f"this command opens no security keys, so it must not have the options {sorted(options)}")


def _unchecked(serial: str, user: str) -> None:
    raise AssertionError(f"this command cannot check token {serial}, so it must not give the token to {user}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What an enrollment method gets from the command: settings, and ports such as the one that reads from IAM.

    `security_keys` opens the connected security keys; its arguments are those of SecurityKeys. `given_away` has the
    security keys that the command has given to users. `check_token` takes a display token's serial and a user, and
    raises UsageFault if the user must not get the token. A command that gives no devices to users keeps the defaults,
    which always fail. `record_key` records in the ledger that a key was seen, and the device that is now on it.
    `own_keys` means that each key is given to one user only.
    """

    settings: Settings
    iam_reader: IamReader
    oath_keys: "OathKeys"
    security_keys: "Callable[..., SecurityKeys]" = _unopened
    given_away: SeenKeys = field(default_factory=SeenKeys)
    own_keys: bool = False
    check_token: Callable[[str, str], None] = _unchecked
    record_key: Callable[["KeyFacts", "KeyDevice | None"], None] = lambda _facts, _device: None


class Options(Protocol):
    """The options of one enrollment method: a frozen dataclass, each field with metadata from `option`."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def backup_alone(self) -> bool:
        """Whether the encrypted backup will be the only copy of the secret."""
        return False

    @property
    def password_stdin(self) -> bool:
        """Whether the password of an OATH key is read from standard input."""
        return False

    def backend(self, context: Context) -> DeviceBackend:
        """Return the DeviceBackend for one device.

        Nothing is changed yet. Raise UsageFault if the options are wrong, and DeviceFault if there is no usable key.
        """
        ...

    def slot(self, context: Context) -> "KeySlot | None":
        """Return a KeySlot, which reports inserted keys, or None if the enrollment method uses no key."""
        return None

    def find_same_device(self, context: Context, reader: str) -> str | None:
        """Return the identity of the inserted key that is the same device as the card in a reader, or None."""
        return None

    def has_card(self, context: Context, identity: str) -> bool:
        """Return whether an inserted key is a smart card too."""
        return True


def _backup(context: Context) -> DeviceBackend:
    return BackupAlone(context.iam_reader.now)


def _nothing(_spec: DeviceSpec, _context: Context) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentMethod:
    """One enrollment method: its texts on the command line, its options, and the procedure that makes a device.

    `about` is printed at the start of the help of `--with METHOD`. `roster_method` describes the method for rosters, or
    is None if a roster cannot name this method. `call` is the prompt of the station (`rollout station`, which enrolls
    people in person), with the placeholders `{user}` and `{serial}`. If `call` is empty, the station cannot use the
    method. `call_user` is what the user's web page asks the user to do, with the same placeholders.
    `backend_of_interrupted_run` returns the DeviceBackend for devices of interrupted runs. `on_key` means that the
    secret is on a key, which must be inserted when the device is removed. `resumable` means that an unfinished device
    can be completed from its encrypted backup. `usage` returns lines that say how to use a device.
    """

    method: Method
    help: str
    options: type[Options]
    procedure: EnrollmentProcedure = CREATING
    about: str = ""
    roster_method: RosterMethod | None = None
    call: str = ""
    call_user: str = ""
    backend_of_interrupted_run: Callable[[Context], DeviceBackend] = _backup
    on_key: bool = False
    resumable: bool = False
    usage: Callable[[DeviceSpec, Context], Sequence[str]] = _nothing


def built(kind: type[Options], values: Mapping[str, object]) -> Options:
    """Return an instance of `kind`, the dataclass of an enrollment method's options.

    `values` maps names of options to values. Names that are not fields of `kind` are ignored.
    """
    build: Callable[..., Options] = kind
    return build(**{field.name: _value(field, values[field.name]) for field in fields(kind) if field.name in values})


def option_of(declared: Field[Any]) -> Option:
    """Return what a field of the options of an enrollment method says about its option on the command line."""
    option: Option = declared.metadata[OPTION]
    return option


def _value(declared: Field[Any], value: object) -> object:
    kind = type_of(declared)
    return kind(str(value)) if isinstance(kind, type) and issubclass(kind, StrEnum) else value


def type_of(declared: Field[Any]) -> object:
    """Return the type of a field. For an optional field, return the type without None."""
    return next((argument for argument in get_args(declared.type) if argument is not type(None)), declared.type)
