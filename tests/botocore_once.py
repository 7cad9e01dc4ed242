"""Lets botocore do once in a process what it does again for each session and client. A command makes a few of them.

Without this, most of the CPU time of the tests that run commands in their own process would go there.
"""

import inspect
from collections.abc import Callable, Hashable
from typing import Any

from botocore import client, hooks
from botocore.loaders import JSONFileLoader, Loader

# Their inner functions have no types.
ClientCreator: Any = client.ClientCreator
EventAliaser: Any = hooks.EventAliaser
Kept = dict[Hashable, Any]


def work_once() -> None:
    """Keep what botocore reads and makes, because it would read and make the same again."""
    _read_once()
    _name_once()
    _look_at_flags()
    _make_once()


def _read_once() -> None:
    """Keep each file of JSON and each list of services that a loader has read."""
    documents: Kept = {}
    services: Kept = {}
    load_file, list_services = JSONFileLoader.load_file, Loader.list_available_services

    def load(self: JSONFileLoader, file_path: str) -> Any:
        if (document := documents.get(file_path)) is None:
            document = documents[file_path] = load_file(self, file_path)
        return document

    def list_available(self: Loader, type_name: str) -> list[str]:
        key = (*self.search_paths, type_name)
        if key not in services:
            services[key] = list_services(self, type_name)
        return list(services[key])

    JSONFileLoader.load_file = load  # type: ignore[method-assign]
    Loader.list_available_services = list_available  # type: ignore[method-assign]


def _name_once() -> None:
    """Keep the names of events. Only botocore's own aliases are used, so a name has one alias."""
    names: Kept = {}
    alias = EventAliaser._alias_event_name  # noqa: SLF001

    def name_of(self: Any, event_name: str) -> Any:
        if (name := names.get(event_name)) is None:
            name = names[event_name] = alias(self, event_name)
        return name

    EventAliaser._alias_event_name = name_of  # noqa: SLF001


def _look_at_flags() -> None:
    """Look at a handler's flags instead of its whole signature, which takes a fifth of the time of a new session."""
    accepts = hooks.accepts_kwargs

    def accepts_kwargs(func: Callable[..., Any]) -> Any:
        code = getattr(func, "__code__", None)
        return code.co_flags & inspect.CO_VARKEYWORDS if code else accepts(func)

    hooks.accepts_kwargs = accepts_kwargs


def _make_once() -> None:
    """Keep the class of each service's clients. A session of boto3 adds methods to S3's, and to no other."""
    classes: Kept = {}
    create = ClientCreator._create_client_class  # noqa: SLF001

    def class_of(self: Any, service_name: str, service_model: Any) -> Any:
        if service_name == "s3":
            return create(self, service_name, service_model)
        if service_name not in classes:
            classes[service_name] = create(self, service_name, service_model)
        return classes[service_name]

    ClientCreator._create_client_class = class_of  # noqa: SLF001
