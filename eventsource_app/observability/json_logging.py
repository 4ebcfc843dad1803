"""One JSON object per log line: timestamp, level, logger, message, and every `extra` field."""

import fcntl
import json
import logging
import os
import re
import reprlib
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.msgspec import MsgspecFormatter

# Django puts the request or a socket into `extra`: neither is data. The rest is logging's own.
NOT_DATA = ("request", "server_time", "taskName", "color_message")
# PostgreSQL's DETAIL, and what follows it, repeats the row's values: they may be personal data.
DETAIL = re.compile(r"^[ |]*DETAIL:.*?(?=^\s*$|\Z)", re.DOTALL | re.MULTILINE)
PLAIN = (str, int, float, datetime, type(None))
# What gunicorn calls its access log's atoms -> our field names. The query string is left out: it may hold secrets.
ACCESS_FIELDS = {"m": "method", "U": "path", "h": "remote_address", "a": "user_agent"}
# Where a request's environment keeps its span's ids for the access log.
TRACE_ID, SPAN_ID = "eventsource.trace_id", "eventsource.span_id"
# Ids that a line carries where they are known: an answer's header, two entries of the environment.
ACCESS_IDS = {
    "correlation_id": "{x-request-id}o",
    "trace_id": f"{{{TRACE_ID}}}e",
    "span_id": f"{{{SPAN_ID}}}e",
}


def without_detail(text: str) -> str:
    """Return *text* (a message or traceback) without the DETAIL parts of a database's messages."""
    return DETAIL.sub("", text).rstrip("\n") if "DETAIL:" in text else text


class WholeLineHandler(logging.StreamHandler[Any]):
    """Writes each line in one piece where several processes share a pipe, as a container's do: it takes 4,096 bytes at once."""

    def emit(self, record: logging.LogRecord) -> None:
        with _alone_in_pipe(self.stream):
            super().emit(record)


@contextmanager
def _alone_in_pipe(stream: Any) -> Iterator[None]:
    """Keep other processes out of a pipe; the kernel lets them in when this one dies."""
    pipe = None
    try:
        if stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode):
            fcntl.lockf(stream, fcntl.LOCK_EX)
            pipe = stream
    except (AttributeError, OSError, ValueError):
        pass  # no file of the system's, closed, or of a kind that this system does not lock
    try:
        yield
    finally:
        if pipe is not None:
            fcntl.lockf(pipe, fcntl.LOCK_UN)


class JsonLineFormatter(MsgspecFormatter):
    """The formatter of web, workers and commands."""

    def __init__(self) -> None:
        super().__init__(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
            reserved_attrs=[*RESERVED_ATTRS, *NOT_DATA],
            defaults={"timestamp": None},  # puts it first
            timestamp="timestamp",
        )

    def formatException(self, ei: Any) -> str:  # noqa: N802 -- logging's name
        return without_detail(str(super().formatException(ei)))

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        super().add_fields(log_data, record, message_dict)
        own = {"level": record.levelname, "logger": record.name}
        if "exc_info" in message_dict:
            own["exception"] = message_dict["exc_info"]
        # An `extra` of the same name stands beside the line's own: alerts go by these.
        log_data |= {f"extra_{name}": log_data[name] for name in own if name in record.__dict__}
        log_data |= own

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return {name: without_detail(v) if isinstance(v, str) else v for name, v in log_data.items()}

    def jsonify_log_record(self, log_data: Any) -> str:
        try:
            return super().jsonify_log_record(log_data)
        except UnicodeEncodeError:
            # A lone surrogate, as in the name of a file that is not UTF-8: the line matters more than the character.
            plain = json.dumps(msgspec.to_builtins(log_data, enc_hook=self.json_default), ensure_ascii=False)
            return super().jsonify_log_record(json.loads(plain.encode(errors="replace")))
        except RecursionError:
            # In a circle, or too deep: logging lets this one through, into the work of whoever logs.
            shown = {name: v if isinstance(v, PLAIN) else reprlib.repr(v) for name, v in log_data.items()}
            return super().jsonify_log_record(shown)


class AccessLineFormatter(JsonLineFormatter):
    """gunicorn's access log: the same line, with the request's facts as fields."""

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.args, Mapping):
            record = _access_record(record, record.args)
        return super().format(record)


def _access_record(record: logging.LogRecord, atoms: Mapping[str, Any]) -> logging.LogRecord:
    """Return a copy of gunicorn's record that has fields in place of the line it would print."""
    fields = {ours: str(atoms.get(theirs, "-")) for theirs, ours in ACCESS_FIELDS.items()}
    extra: dict[str, Any] = {
        **fields,
        "status": _number(atoms.get("s")),
        "response_bytes": _number(atoms.get("B")),
        "duration_seconds": (_number(atoms.get("D")) or 0) / 1_000_000,
    }
    for field, atom in ACCESS_IDS.items():
        if (value := atoms.get(atom, "-")) != "-":
            extra[field] = str(value)
    message = f"{fields['method']} {fields['path']} {extra['status']}"
    standard = {"name": record.name, "levelno": record.levelno, "levelname": record.levelname}
    return logging.makeLogRecord({**standard, "created": record.created, "msg": message, **extra})


def _number(value: Any) -> int | None:
    return int(value) if str(value).isdigit() else None
