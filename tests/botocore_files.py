"""Lets botocore read its data files once in a process. Each new session reads and parses megabytes of them otherwise.

A command makes new sessions. Without this, most of the CPU time of the tests that run commands in their own process
would go there.
"""

from collections.abc import Hashable
from typing import Any

from botocore.loaders import JSONFileLoader, Loader

Documents = dict[Hashable, Any]


def read_once() -> None:
    """Keep each file of JSON and each list of services that a loader has read. botocore changes neither."""
    documents: Documents = {}
    services: Documents = {}
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
