"""Makes read calls and reads listings page by page. Retries calls that are throttled or get no response.

Each call can be reported with its request ID, under which CloudTrail lists it.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NotRequired, Protocol, TypedDict, TypeVar

from mfa_kit.core.errors import AwsFault, OutcomeUnknownError, Throttled, TooSlow

T = TypeVar("T")
log = logging.getLogger(__name__)

# Seconds between the attempts of a read.
READ_PAUSES = (0.5, 1, 2, 4, 8)


class Retry(Protocol):
    """Calls a function, and retries it after some errors. Returns the function's result, or raises the last error."""

    def __call__(self, act: Callable[[], T]) -> T: ...


def read(
    attempt: Callable[[], T],
    *,
    sleep: Callable[[float], None],
    turn: Retry | None = None,
    pauses: Sequence[float] = READ_PAUSES,
) -> T:
    """Call `attempt`, which makes one read call, and return its result.

    If `attempt` raises Throttled or OutcomeUnknownError (no response, or a server error), it is called again after each
    of the `pauses` in seconds, because reading twice is harmless. TooSlow is raised at once. The error of the last
    attempt is raised. `turn`, if given, makes every attempt. It may wait before the attempt, and it retries throttled
    attempts itself.
    """

    def once() -> T:
        return turn(attempt) if turn else attempt()

    for pause in pauses:
        try:
            return once()
        except TooSlow:
            raise
        except OutcomeUnknownError as error:
            log.debug("%s; asking again in %s s", error, pause)
        except Throttled as error:
            # `turn` has already retried the attempt and given up.
            if turn:
                raise
            log.debug("%s; asking again in %s s", error, pause)
        sleep(pause)
    return once()


if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

# The maximum number of rows that IAM puts on a page.
PAGE = 1000


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


# A function that is called with the operation, the request ID, and the name of the user in the request, or None.
Observe = Callable[[str, str, str | None], None]
# The key under which the user's name is kept in botocore's request context.
USER = "mfa_kit_user"


def observe_reads(ask: Ask, observe: Observe) -> None:
    """Make the IAM client of `ask` call `observe` after each response from now on."""

    def before(params: dict[str, object], context: dict[str, object], **_: object) -> None:
        context[USER] = params.get("UserName")

    def after(parsed: dict[str, dict[str, str]], model: object, context: dict[str, object], **_: object) -> None:
        user = context.get(USER)
        operation = str(getattr(model, "name", ""))
        request = str(parsed.get("ResponseMetadata", {}).get("RequestId", ""))
        observe(operation, request, str(user) if user else None)

    def register(client: object) -> None:
        events = getattr(client, "meta").events  # noqa: B009 - every client of boto3 has `meta`
        events.register("before-parameter-build.iam", before)
        events.register("after-call.iam", after)

    ask(register)
