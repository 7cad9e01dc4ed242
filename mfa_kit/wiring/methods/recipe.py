"""What a row of the registry says of an enrollment method, and the form in which a method declares its options."""

from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from mfa_kit.core.models import Intent, Method
from mfa_kit.enrollment.backup_alone import BackupAlone
from mfa_kit.enrollment.making import CREATING
from mfa_kit.enrollment.ports import Carrier, Inventory, Maker
from mfa_kit.rollout.roster import RosterMethod
from mfa_kit.security_keys.authenticator import SeenKeys
from mfa_kit.wiring.settings import Settings

if TYPE_CHECKING:
    from mfa_kit.rollout.key_slot import KeySlot
    from mfa_kit.wiring.oath_keys import OathKeys

# Where the metadata of a dataclass field holds an Option.
OPTION = "option"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What a field of a method's options is on the command line; the field gives its type, name and default.

    `single`: it is about one device, so where many are made the roster and what is plugged in say it. `off` is the flag
    that unsets it; `read`: it is a file that is read; `least` and `most` bound a number.
    """

    help: str
    metavar: str | None = None
    single: bool = False
    off: str | None = None
    read: bool = False
    least: int | None = None
    most: int | None = None


def option(
    *,
    help: str,  # noqa: A002 - as click has it
    metavar: str | None = None,
    single: bool = False,
    off: str | None = None,
    read: bool = False,
    least: int | None = None,
    most: int | None = None,
) -> dict[str, Option]:
    """Return the metadata of a field that is an Option."""
    return {OPTION: Option(help=help, metavar=metavar, single=single, off=off, read=read, least=least, most=most)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a method is opened with. `given_away` are the security keys that this command has given to users."""

    settings: Settings
    inventory: Inventory
    oath_keys: "OathKeys"
    given_away: SeenKeys = field(default_factory=SeenKeys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """What makes one device: the carrier, where its seed goes to live, and the maker, the order of the steps."""

    carrier: Carrier
    maker: Maker = CREATING


class Options(Protocol):
    """The options of one method, as a frozen dataclass whose fields have an `option` as metadata."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def backup_alone(self) -> bool:
        """Whether the sealed backup is to be the only copy of the seed."""
        return False

    @property
    def password_stdin(self) -> bool:
        """Whether the password of an OATH key is read from standard input."""
        return False

    def equip(self, context: Context) -> Equipment:
        """Return what makes a device as these options say. Raise UsageFault, DeviceFault; touches no device."""
        ...

    def slot(self, context: Context) -> "KeySlot | None":
        """Return where the device is put in; None where nothing is."""
        return None


def _backup(context: Context) -> Carrier:
    return BackupAlone(context.inventory.now)


def _nothing(_intent: Intent, _context: Context) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One enrollment method: its words on the command line, its options, and how a device is made.

    `about` begins its own help. `how` is what it is in a roster, None where no roster can name it. `call` asks for what
    a row of a roster is made with; a method without it is not made at the station.
    `of_dead` finds the carrier of a dead run. `on_key`: the seed lives on a key, which has to be here when the
    device goes. `resumable`: a half-made device can go on from its sealed backup. `usage` tells how a device is used.
    """

    method: Method
    help: str
    options: type[Options]
    about: str = ""
    how: RosterMethod | None = None
    call: str = ""
    of_dead: Callable[[Context], Carrier] = _backup
    on_key: bool = False
    resumable: bool = False
    usage: Callable[[Intent, Context], Sequence[str]] = _nothing
