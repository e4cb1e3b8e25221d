"""Error reports to Sentry, if a DSN is set. Imported only then, because the SDK takes memory.

An event has the exception's type, stack, jobId and kind. Texts that may contain user data or secrets are not sent:
messages of exceptions, arguments of log lines, variables, headers. The log has them, redacted, under the same jobId.
"""

import logging
from importlib.metadata import PackageNotFoundError, version
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
    """Report each log line of level ERROR, and an uncaught exception of the process."""
    try:
        sentry_sdk.init(
            dsn=dsn,
            environment=environment,
            release=_release(),
            # The defaults also send arguments and modules, and add headers to requests to providers.
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=_integrations(),
            before_send=redacted_event,  # type: ignore[arg-type] # the SDK's Event is a TypedDict; what we build is one
            max_breadcrumbs=0,
            include_local_variables=False,
            send_default_pii=False,
            send_client_reports=False,
        )
    except BadDsn as error:  # the operator works without error reports
        _log.error("SENTRY_DSN: %s; expected https://KEY@HOST/PROJECT; errors are not reported", error)


def _release() -> str | None:
    """Version of the installed package; None in the image, where the SDK reads SENTRY_RELEASE, which the chart sets."""
    try:
        return f"contentgen@{version('contentgen')}"
    except PackageNotFoundError:
        return None


def _integrations() -> list[Integration]:
    return [
        LoggingIntegration(level=None, event_level=logging.ERROR, sentry_logs_level=None),
        ExcepthookIntegration(),
        DedupeIntegration(),
        AtexitIntegration(callback=lambda _pending, _timeout: None),  # the default one writes to stderr
    ]


def redacted_event(event: Event, _hint: dict[str, Any]) -> Event:
    """Event with the fields on an allowlist, so that fields of later SDK versions are not sent."""
    sent = {name: event[name] for name in _KEPT if name in event}
    extra = event.get("extra", {})
    sent["tags"] = {name: str(extra[name]) for name in _TAGS if name in extra}
    if "logentry" in event:
        sent["logentry"] = {"message": _template(event)}
    if "exception" in event:
        sent["exception"] = {"values": [_exception(exception) for exception in event["exception"]["values"]]}
    return sent


def _template(event: Event) -> str:
    """Log line without its arguments. Other libraries format them into the template, so theirs is replaced."""
    logger = str(event.get("logger", ""))
    return str(event["logentry"]["message"]) if logger.startswith(f"{_OURS}.") else f"an error of {logger}"


def _exception(value: Event) -> Event:
    return {name: value[name] for name in ("type", "module", "stacktrace") if value.get(name)}
