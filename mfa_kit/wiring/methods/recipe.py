"""What a row of the registry says of an enrollment method, and the form in which a method declares its options."""

import importlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from mfa_kit.core.models import DeviceType, Intent, Method
from mfa_kit.enrollment.backup_alone import BackupAlone
from mfa_kit.enrollment.ports import Carrier, Inventory, Maker
from mfa_kit.rollout.roster_method import RosterMethod
from mfa_kit.security_keys.seen_keys import SeenKeys
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
    maker: Maker


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


class Methods(Mapping[str, Recipe]):
    """Recipes by the name of their method. A recipe is loaded when it is asked for, so that no method pays for another.

    `places` says where each is, as `module:NAME`.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places
        self.resumable = _Names(self, lambda recipe: recipe.resumable)
        self.on_keys = _Names(self, lambda recipe: recipe.on_key)

    def __getitem__(self, name: str) -> Recipe:
        module, _, constant = self._places[name].partition(":")
        recipe: Recipe = getattr(importlib.import_module(module), constant)
        return recipe

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def in_rosters(self) -> list[RosterMethod]:
        """Return the methods that a roster can name, by the type of their devices."""
        types = list(DeviceType)
        recipes = sorted(self.values(), key=lambda recipe: types.index(recipe.method.device_type))
        return [recipe.how for recipe in recipes if recipe.how]

    def carrier_finder(self, context: Context) -> Callable[[Intent], Carrier]:
        """Return a function that finds where the secret of a dead run is stored, by the method of its intent."""

        def find(intent: Intent) -> Carrier:
            recipe = self.get(intent.method.name)
            return recipe.of_dead(context) if recipe else BackupAlone(context.inventory.now)

        return find


class _Names(Container[str]):
    """The names of the methods for which something is true; a method is loaded when its name is looked for."""

    def __init__(self, methods: Methods, true: Callable[[Recipe], bool]) -> None:
        self._methods, self._true = methods, true

    def __contains__(self, name: object) -> bool:
        return name in self._methods and self._true(self._methods[str(name)])
