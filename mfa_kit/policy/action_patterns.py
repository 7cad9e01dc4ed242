"""The actions and resources that policies name. Both may be patterns, such as `s3:Get*`, and patterns may overlap."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product, starmap

from mfa_kit.account.evaluator import RequestContext, filled_text, overlap, patterns_named, statements

# An action and a resource.
ActionOnResource = tuple[str, str]
EVERY: ActionOnResource = ("*", "*")


def named_patterns(texts: Iterable[str], request: RequestContext, *, allow: bool) -> Iterator[ActionOnResource]:
    """Yield what Allow statements (with `allow`) or Deny statements name, with the policy variables replaced."""
    pairs = (pair for text in texts for pair in patterns_named(text, allow=allow, complete=True))
    return with_values(pairs, request)


def limit_patterns(texts: Sequence[str], request: RequestContext) -> dict[ActionOnResource, None]:
    """Return what a boundary or a level of SCPs allows. Nothing is narrower than `*`, so it stands alone."""
    pairs = dict.fromkeys(named_patterns(texts, request, allow=True))
    return {EVERY: None} if EVERY in pairs else pairs


def with_values(pairs: Iterable[ActionOnResource], request: RequestContext) -> Iterator[ActionOnResource]:
    """Yield the pairs with their policy variables replaced. Skip pairs with a variable whose value is unknown."""
    for action, resource in pairs:
        if (filled := filled_text(resource, request)) is not None:
            yield action, filled


def all_pairs(texts: Iterable[str], *, allow: bool) -> Iterator[ActionOnResource]:
    """Yield each action with each resource in the statements of policies. NotAction and NotResource count as `*`."""
    for text in texts:
        for statement in statements(text):
            if statement.allow is allow:
                yield from product(statement.actions or ("*",), statement.resources or ("*",))


def common_example(pair: ActionOnResource, other: ActionOnResource) -> ActionOnResource | None:
    """Return an example of what two pairs of patterns both match, or None if there is none."""
    action, resource = overlap(pair[0], other[0], ignore_case=True), overlap(pair[1], other[1])
    return (action, resource) if action and resource else None


def overlap_examples(
    pairs: Mapping[ActionOnResource, None], others: Mapping[ActionOnResource, None]
) -> dict[ActionOnResource, None]:
    """Return an example of each overlap of two pairs of patterns, in the order of the pairs."""
    return dict.fromkeys(filter(None, starmap(common_example, product(pairs, others))))


def partial_overlaps(
    allowed: Iterable[ActionOnResource], denied: Iterable[ActionOnResource]
) -> Iterator[ActionOnResource]:
    """Yield an example for each pair of an allowed and a denied pattern that overlap only in part.

    For example, the allowed `s3:Get*` and the denied `s3:*Object` both match `s3:GetObject`.
    """
    for pair, other in product(allowed, denied):
        common = common_example(pair, other)
        if common and common not in {pair, other}:
            yield common
