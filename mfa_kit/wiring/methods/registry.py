"""The enrollment methods. To add one, add a file to this folder and a row to METHODS."""

import importlib
from collections.abc import Callable, Container, Iterator, Mapping

from mfa_kit.core.models import DeviceSpec, DeviceType, RosterMethod
from mfa_kit.enrollment.backends import BackupAlone
from mfa_kit.enrollment.ports import DeviceBackend
from mfa_kit.wiring.methods.method import Context, EnrollmentMethod


class Methods(Mapping[str, EnrollmentMethod]):
    """Maps the name of each enrollment method to its EnrollmentMethod. Its module is imported at the first look-up.

    `places` maps each method's name to its EnrollmentMethod, written as `module:NAME`. `resumable` and `on_keys` have
    the names of the methods that set `resumable` and `on_key`.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places
        self.resumable = _Names(self, lambda method: method.resumable)
        self.on_keys = _Names(self, lambda method: method.on_key)

    def __getitem__(self, name: str) -> EnrollmentMethod:
        module, _, constant = self._places[name].partition(":")
        method: EnrollmentMethod = getattr(importlib.import_module(module), constant)
        return method

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def in_rosters(self) -> list[RosterMethod]:
        """Return the enrollment methods that a roster can name, ordered by the type of their devices, and `pair`."""
        types = list(DeviceType)
        methods = sorted(self.values(), key=lambda method: types.index(method.method.device_type))
        named = {method.method.name: method.roster_method for method in methods if method.roster_method}
        return [*named.values(), RosterMethod(halves=(named["oath"], named["fido2"]))]

    def backend_finder(self, context: Context) -> Callable[[DeviceSpec], DeviceBackend]:
        """Return a function that takes the spec of an interrupted run and returns the DeviceBackend for it."""

        def find(spec: DeviceSpec) -> DeviceBackend:
            method = self.get(spec.method.name)
            return method.backend_of_interrupted_run(context) if method else BackupAlone(context.iam_reader.now)

        return find


class _Names(Container[str]):
    """The names of the enrollment methods that meet a condition: the function `true` returns True for it.

    The module of a method is imported when its name is looked up.
    """

    def __init__(self, methods: Methods, true: Callable[[EnrollmentMethod], bool]) -> None:
        self._methods, self._true = methods, true

    def __contains__(self, name: object) -> bool:
        return name in self._methods and self._true(self._methods[str(name)])


METHODS = Methods(
    {
        "virtual": "mfa_kit.wiring.methods.virtual:METHOD",
        "oath": "mfa_kit.wiring.methods.oath:METHOD",
        "fido2": "mfa_kit.wiring.methods.fido2:METHOD",
        "hardware-totp": "mfa_kit.wiring.methods.tokens:DISPLAYED",
        "programmable": "mfa_kit.wiring.methods.tokens:PROGRAMMED",
    }
)
