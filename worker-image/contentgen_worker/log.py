"""JSON log lines on stderr, each with the job id; the last 200 are kept as text for the outcome."""

import json
import logging
import sys
from collections import deque
from datetime import UTC, datetime

from contentgen_contract.worker import log

_log = logging.getLogger("contentgen.worker")
_context: dict[str, str] = {}
_recent: deque[log.LogLine] = deque(maxlen=200)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **_context,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


class _TailHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _recent.append(log.parse_line(self.format(record)))


def configure() -> None:
    """Write our log lines and warnings of libraries to stderr, and keep the last ones."""
    handlers = (logging.StreamHandler(sys.stderr), _TailHandler())
    for handler in handlers:
        handler.setFormatter(_JsonFormatter())
    _recent.clear()
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    logging.getLogger("pyscenedetect").setLevel(logging.ERROR)
    _log.setLevel(logging.INFO)


def bind(**context: str) -> None:
    """Add these fields to every further line."""
    _context.update(context)


def event(name: str, **fields: object) -> None:
    """Log one line at level info."""
    _log.info(name, extra={"fields": fields})


def tail() -> str:
    """Last log lines as text; the outcome keeps them after the pod is gone."""
    return log.tail(tuple(_recent))


def failure(name: str, *, crash: bool = False, **fields: object) -> None:
    """Log one line at level error; with a traceback only for a crash."""
    _log.error(name, extra={"fields": fields}, exc_info=crash)
