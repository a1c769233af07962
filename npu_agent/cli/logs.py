"""How the log looks: one line a record, as text for people or as JSON for machines, on standard error."""

import json
import logging
import sys
import time

from npu_agent.cli.streams import escaped_data, takes_all_characters
from npu_agent.core.text import escaped


def set_up(level: str, form: str) -> None:
    """Log from `level` on ("debug", "info", "warning", "error") in `form` ("text" or "json")."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # They report each connection that a peer broke, which is ordinary here and told by the link itself.
    for noisy in ("asyncio", "hpack", "grpclib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.123Z info  registered with kubelet`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record in one line, and a traceback after it where there is one."""
        line = f"{_time(record)} {record.levelname.lower():<7} {escaped(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One object with `time`, `level`, `logger`, `event` and its fields where it is one, `message`, and `error` with a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a JSON object."""
        event = getattr(record, "event", None)
        fields = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            **({"event": event} if event else {}),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return escaped_data(json.dumps(fields, ensure_ascii=not takes_all_characters(sys.stderr), default=str))


def _time(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"
