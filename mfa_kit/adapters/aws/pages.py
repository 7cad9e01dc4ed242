"""Reads IAM's listings page by page."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NotRequired, Protocol, TypedDict, TypeVar

from mfa_kit.core.errors import AwsFault

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

# The maximum number of rows that IAM puts on a page.
PAGE = 1000

T = TypeVar("T")


class Ask(Protocol):
    """Makes one read call with boto3's IAM client and returns its result. An implementation may retry the call.

    Raises one of mfa-kit's errors if the call fails.
    """

    def __call__(self, call: Callable[["IAMClient"], T]) -> T: ...


class IamPage(TypedDict):
    """The fields that all pages of IAM's listings have. IAM sends `Marker` only if `IsTruncated` is true."""

    IsTruncated: bool
    Marker: str


class From(TypedDict):
    """The argument of a call that says where the requested page begins. For the first page it is empty."""

    Marker: NotRequired[str]


P = TypeVar("P", bound=IamPage)


def pages(ask: Ask, call: Callable[["IAMClient", From], P]) -> Iterator[P]:
    """Yield the pages of a listing in order. `call` requests one page. Its second argument says where the page begins.

    Raise AwsFault if a marker is missing or repeats, or the error that `ask` raises for a page.
    """
    start: From = {}
    while True:
        page = ask(partial(_call_from, call, start))
        yield page
        if not page.get("IsTruncated"):
            return
        if page.get("Marker") in {None, start.get("Marker")}:
            raise AwsFault("IAM returned a page without a new marker", "try again; report it if it happens again")
        start = {"Marker": page["Marker"]}


def _call_from(call: Callable[["IAMClient", From], P], start: From, iam: "IAMClient") -> P:
    return call(iam, start)
