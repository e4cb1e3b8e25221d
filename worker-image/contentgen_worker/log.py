"""One JSON object a line on stderr, each with the job's id."""

import json
import logging
import sys
from datetime import UTC, datetime

_log = logging.getLogger("contentgen.worker")
_context: dict[str, str] = {}


class _Json(logging.Formatter):
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


def configure() -> None:
    """Write our lines, and the warnings of libraries, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("pyscenedetect").setLevel(logging.ERROR)
    _log.setLevel(logging.INFO)


def bind(**context: str) -> None:
    """Put these into every further line."""
    _context.update(context)


def event(name: str, **fields: object) -> None:
    """One line."""
    _log.info(name, extra={"fields": fields})


def failure(name: str, *, crash: bool = False, **fields: object) -> None:
    """One line of level error; only a crash, which nobody expected, brings its traceback."""
    _log.error(name, extra={"fields": fields}, exc_info=crash)
