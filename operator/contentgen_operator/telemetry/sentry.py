"""Errors told to Sentry, where a DSN is set. Nobody imports this module without one: the SDK takes memory.

An event says what went wrong, where in our code, and in which job: the exception's type, stack, jobId and kind. What
may quote a user or a secret stays here: texts of exceptions, arguments of log lines, variables, headers. The log has
them, redacted, under the same jobId.
"""

import logging
from importlib.metadata import version
from typing import Any

import sentry_sdk
from sentry_sdk.integrations import Integration
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.integrations.excepthook import ExcepthookIntegration
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.utils import BadDsn

_log = logging.getLogger(__name__)
_OURS = "contentgen_operator"
_KEPT = ("event_id", "timestamp", "platform", "level", "logger", "release", "environment", "server_name", "sdk")
_TAGS = ("jobId", "kind")

Event = dict[str, Any]


def start(dsn: str, environment: str) -> None:
    """Report each line of level ERROR, and an end of the process by an exception."""
    try:
        sentry_sdk.init(
            dsn=dsn,
            environment=environment,
            release=f"contentgen@{version('contentgen')}",
            # The defaults would also send arguments and modules, and put headers of theirs into requests to providers.
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=_integrations(),
            before_send=told,  # type: ignore[arg-type] # the SDK's Event is a TypedDict; what we build is one
            max_breadcrumbs=0,
            include_local_variables=False,
            send_default_pii=False,
            send_client_reports=False,
        )
    except BadDsn as error:  # the work is more important than being told of its errors
        _log.error("SENTRY_DSN: %s; expected https://KEY@HOST/PROJECT; errors are not reported", error)


def _integrations() -> list[Integration]:
    return [
        LoggingIntegration(level=None, event_level=logging.ERROR, sentry_logs_level=None),
        ExcepthookIntegration(),
        DedupeIntegration(),
        AtexitIntegration(callback=lambda _pending, _timeout: None),  # the default one writes to stderr
    ]


def told(event: Event, _hint: dict[str, Any]) -> Event:
    """What of an event is sent: a list of what may be, so that what the SDK learns to send one day is not."""
    sent = {name: event[name] for name in _KEPT if name in event}
    extra = event.get("extra", {})
    sent["tags"] = {name: str(extra[name]) for name in _TAGS if name in extra}
    if "logentry" in event:
        sent["logentry"] = {"message": _template(event)}
    if "exception" in event:
        sent["exception"] = {"values": [_exception(each) for each in event["exception"]["values"]]}
    return sent


def _template(event: Event) -> str:
    """A line without its arguments. Others put them into the template itself."""
    logger = str(event.get("logger", ""))
    return str(event["logentry"]["message"]) if logger.startswith(f"{_OURS}.") else f"an error of {logger}"


def _exception(value: Event) -> Event:
    return {name: value[name] for name in ("type", "module", "stacktrace") if value.get(name)}
