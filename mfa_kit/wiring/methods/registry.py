"""The enrollment methods. To add one, add a file to this folder and a row to METHODS."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from mfa_kit.core.message import ENTER, fill
from mfa_kit.core.models import DeviceSpec, DeviceType, RosterMethod
from mfa_kit.enrollment.backends import BackupAlone
from mfa_kit.wiring.methods.method import Context, EnrollmentMethod, built

if TYPE_CHECKING:
    from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentProcedure
    from mfa_kit.rollout.key_slot import InsertedKey, KeySlot
    from mfa_kit.rollout.roster import RosterRow
    from mfa_kit.security_keys.preparing import PreparedKey
    from mfa_kit.wiring.methods.method import Options
    from mfa_kit.wiring.security_keys import SecurityKeys


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


class RowMethods:
    """Implements `StationMethods`: prepares the device of a row, with the row's enrollment method and the options.

    Options for a single device, such as its name, get their values from the row and the inserted key. `prepare` returns
    the procedure for a key that is sent by post, and `overrides` the options that the profile of a row decides.
    `prepared` has the PIN of the key that was prepared for its profile.
    """

    def __init__(self, options: Mapping[str, object], context: Context, prepared: PreparedKey) -> None:
        self.prepared = prepared
        self._options = options
        self._context = replace(context, security_keys=partial(context.security_keys, prepared=self.prepared))
        self.overrides: Callable[[RosterRow], Mapping[str, object]] = lambda _row: {}
        self.prepare: Callable[[RosterRow], EnrollmentProcedure] = lambda row: METHODS[row.kind.name].procedure

    @property
    def security_keys(self) -> SecurityKeys:
        """The connected security keys, with the metadata that the options name."""
        names = ("mds", "mds_root", "allow_older")
        return self._context.security_keys(**{name: self._options[name] for name in names if name in self._options})

    def call(self, row: RosterRow) -> str:
        """Return the prompt that names the user and asks for the key, token or phone of the row."""
        return fill(METHODS[row.kind.name].call, user=row.user, serial=row.serial, enter=ENTER)

    def slot(self, row: RosterRow) -> KeySlot | None:
        """Return the readers or USB ports for the keys of a row's enrollment method; None if it needs no key."""
        return self._options_of(row, None).slot(self._context)

    def find_same_key(self, row: RosterRow, key: InsertedKey) -> InsertedKey | None:
        """Return the key for the FIDO half of a pair (`row`) that is the same device as an OATH key, or None."""
        options = self._options_of(row, None)
        slot, identity = options.slot(self._context), options.find_same_device(self._context, key.where)
        keys = slot.look()[0] if slot and identity else ()
        return next((same for same in keys if same.identity == identity), None)

    def has_card(self, row: RosterRow, key: InsertedKey) -> bool:
        """Return whether the inserted key of a FIDO half is a smart card too."""
        return self._options_of(row, None).has_card(self._context, key.identity)

    def equip(self, row: RosterRow, key: InsertedKey | None) -> tuple[DeviceBackend, EnrollmentProcedure]:
        """Return the DeviceBackend and the EnrollmentProcedure of a row's device. `key` is the inserted key, or None.

        The DeviceBackend works with the phone, key or token: it stores the secret and gives codes, or examines a
        security key. The EnrollmentProcedure is the procedure that creates and enables the device in IAM.
        """
        procedure = self.prepare(row) if row.by_post else METHODS[row.kind.name].procedure
        return self._options_of(row, key, self.overrides(row)).backend(self._context), procedure

    def _options_of(
        self, row: RosterRow, key: InsertedKey | None, overrides: Mapping[str, object] = MappingProxyType({})
    ) -> Options:
        single = {"key": key.identity if key else None, "serial": row.serial, "asset": row.asset}
        return built(METHODS[row.kind.name].options, {**self._options, **overrides, **single})
