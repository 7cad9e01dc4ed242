"""The enrollment methods. A new one is a file beside this one, and a row here."""

import importlib
from collections.abc import Callable, Container, Iterator, Mapping

from mfa_kit.core.models import DeviceType, Intent
from mfa_kit.enrollment.backup_alone import BackupAlone
from mfa_kit.enrollment.ports import Carrier
from mfa_kit.rollout.roster import RosterMethod
from mfa_kit.wiring.methods.recipe import Context, Recipe


class Methods(Mapping[str, Recipe]):
    """Recipes by the name of their method. A recipe is loaded when it is asked for, so that no method pays for another.

    `places` says where each is, as `module:NAME`.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def __getitem__(self, name: str) -> Recipe:
        module, _, constant = self._places[name].partition(":")
        recipe: Recipe = getattr(importlib.import_module(module), constant)
        return recipe

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


METHODS = Methods(
    {
        "virtual": "mfa_kit.wiring.methods.virtual:METHOD",
        "oath": "mfa_kit.wiring.methods.oath:METHOD",
        "fido2": "mfa_kit.wiring.methods.fido2:METHOD",
        "hardware-totp": "mfa_kit.wiring.methods.hardware_totp:METHOD",
        "programmable": "mfa_kit.wiring.methods.programmable:METHOD",
    }
)


def in_rosters() -> list[RosterMethod]:
    """Return the methods that a roster can name, by the type of their devices."""
    types = list(DeviceType)
    recipes = sorted(METHODS.values(), key=lambda recipe: types.index(recipe.method.device_type))
    return [recipe.how for recipe in recipes if recipe.how]


class Names(Container[str]):
    """The names of the methods for which something is true; a method is loaded when its name is looked for."""

    def __init__(self, true: Callable[[Recipe], bool]) -> None:
        self._true = true

    def __contains__(self, name: object) -> bool:
        return name in METHODS and self._true(METHODS[str(name)])


RESUMABLE = Names(lambda recipe: recipe.resumable)
ON_KEYS = Names(lambda recipe: recipe.on_key)


def finder(context: Context) -> Callable[[Intent], Carrier]:
    """Return a function that finds where the seed of a dead run lives, by the method of its intent."""

    def find(intent: Intent) -> Carrier:
        recipe = METHODS.get(intent.method.name)
        return recipe.of_dead(context) if recipe else BackupAlone(context.inventory.now)

    return find
