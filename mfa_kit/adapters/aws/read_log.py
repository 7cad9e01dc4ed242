"""Reports the request ID of each read request to IAM. CloudTrail lists the request under the same ID."""

from collections.abc import Callable

from mfa_kit.adapters.aws.pages import Ask

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
