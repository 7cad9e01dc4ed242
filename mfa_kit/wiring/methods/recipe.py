"""The registry's description of an enrollment method, and the way in which a method declares its options."""

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

# Key of an Option in the metadata of a dataclass field.
OPTION = "option"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """The command-line form of a method's option. The dataclass field has its type, name and default.

    `single`: the option concerns one device. When many devices are made, the value comes from the roster and the
    inserted key instead. `off` is the flag that unsets it; `read`: it is a file to read; `least` and `most` are limits
    of a number.
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
    """Return metadata for a dataclass field that is an option."""
    return {OPTION: Option(help=help, metavar=metavar, single=single, off=off, read=read, least=least, most=most)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The context in which a method runs. `given_away` has the security keys that this command has given to users."""

    settings: Settings
    inventory: Inventory
    oath_keys: "OathKeys"
    given_away: SeenKeys = field(default_factory=SeenKeys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """The parts that make one device: the carrier stores its secret, and the maker runs the steps in order."""

    carrier: Carrier
    maker: Maker


class Options(Protocol):
    """The options of one method: a frozen dataclass whose fields have an `option` as metadata."""

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

    def equip(self, context: Context) -> Equipment:
        """Return the equipment for a device with these options. Raise UsageFault, DeviceFault; changes no device."""
        ...

    def slot(self, context: Context) -> "KeySlot | None":
        """Return the slot for the device's hardware; None if there is none."""
        return None


def _backup(context: Context) -> Carrier:
    return BackupAlone(context.inventory.now)


def _nothing(_intent: Intent, _context: Context) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One enrollment method: its words on the command line, its options, and how a device is made.

    `about` is printed before its own help. `how` is its form in a roster; None if a roster cannot name it. `call`
    returns the prompt for the row of a roster; the station does not make devices of a method without it. `of_dead`
    finds the carrier of a dead run. `on_key`: the secret is on a key, which must be inserted when the device is
    removed. `resumable`: a half-made device can be continued from its encrypted backup. `usage` describes how a device
    is used.
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
    """Recipes by the name of their method. Each is loaded on first use, so a method does not load the code of others.

    `places` has the place of each, as `module:NAME`.
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
        """Return a function that finds the carrier of a dead run by the method of its intent."""

        def find(intent: Intent) -> Carrier:
            recipe = self.get(intent.method.name)
            return recipe.of_dead(context) if recipe else BackupAlone(context.inventory.now)

        return find


class _Names(Container[str]):
    """Names of the methods that have a property. A method is loaded when its name is looked up."""

    def __init__(self, methods: Methods, true: Callable[[Recipe], bool]) -> None:
        self._methods, self._true = methods, true

    def __contains__(self, name: object) -> bool:
        return name in self._methods and self._true(self._methods[str(name)])
