"""observability.json_logging: the exact form of a line, and what never gets into one."""

import json
import logging
import re
import subprocess
import sys
import uuid
from collections import Counter
from decimal import Decimal
from typing import Any

from eventsource_app.observability.json_logging import AccessLineFormatter, JsonLineFormatter, without_detail


def record(message: str = "hello", **extra: Any) -> logging.LogRecord:
    standard = {"name": "shop", "levelname": "INFO", "levelno": logging.INFO, "msg": message}
    return logging.makeLogRecord({**standard, **extra})


def line(log_record: logging.LogRecord) -> dict[str, Any]:
    text = JsonLineFormatter().format(log_record)
    assert "\n" not in text
    return dict(json.loads(text))


def test_the_fields_come_in_the_documented_form() -> None:
    fields = line(record(position=7, subscription="orders"))

    assert list(fields)[:4] == ["timestamp", "level", "logger", "message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", fields.pop("timestamp"))
    assert fields == {
        "level": "INFO",
        "logger": "shop",
        "message": "hello",
        "position": 7,
        "subscription": "orders",
    }


def test_values_that_json_does_not_know_are_written_all_the_same() -> None:
    identifier = uuid.UUID(int=1)

    fields = line(record(aggregate_id=identifier, total=Decimal("1.50"), thing=object()))

    assert (fields["aggregate_id"], fields["total"]) == (str(identifier), "1.50")
    assert "thing" in fields


def test_text_that_utf_8_lacks_costs_its_character_and_not_the_line() -> None:
    try:
        raise ValueError("caf\udce9.csv")  # the name of a file in Latin-1
    except ValueError as error:
        fields = line(record("read \udce9", error_message=str(error), rates=[0.5], exc_info=sys.exc_info()))

    assert (fields["message"], fields["error_message"], fields["rates"]) == ("read ?", "caf?.csv", [0.5])
    assert next(iter(fields)) == "timestamp"
    assert "ValueError: caf?.csv" in fields["exception"]


def test_a_value_that_contains_itself_or_is_too_deep_costs_its_depth_and_not_the_line() -> None:
    circle: list[Any] = [1]
    circle.append(circle)
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]

    fields = line(record(circle=circle, deep=deep, position=7))

    assert fields["circle"].startswith("[1, [1, ")
    assert fields["deep"].startswith("[[[")
    assert fields["position"] == 7
    assert fields["timestamp"].endswith("Z")


def test_an_extra_does_not_pass_for_the_lines_own_fields() -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        fields = line(record(level="gold", logger="theirs", exception="told", exc_info=sys.exc_info()))

    assert (fields["level"], fields["logger"]) == ("INFO", "shop")
    assert fields["exception"].endswith("ValueError: boom")
    told = {name: value for name, value in fields.items() if name.startswith("extra_")}
    assert told == {"extra_level": "gold", "extra_logger": "theirs", "extra_exception": "told"}
    assert line(record(exception="told"))["exception"] == "told"


def test_the_request_object_is_not_a_field() -> None:
    assert "request" not in line(record(request=object(), status_code=404))


def test_an_exception_has_its_traceback_and_no_data_of_the_row() -> None:
    message = "duplicate key\nDETAIL:  Key (email)=(ann@example.org) already exists."
    try:
        raise ValueError(message)
    except ValueError:
        fields = line(record(exc_info=sys.exc_info()))

    assert "Traceback" in fields["exception"]
    assert "duplicate key" in fields["exception"]
    assert "ann@example.org" not in fields["exception"]


def test_a_chained_traceback_goes_on_after_the_detail() -> None:
    text = "a: bad\nDETAIL:  Key (x)=(1)\nCONTEXT:  COPY line 1: secret\n\nThe above exception\n\nb: worse"

    assert without_detail(text) == "a: bad\n\nThe above exception\n\nb: worse"


def test_extra_texts_are_cut_before_their_detail() -> None:
    assert line(record(error_message="bad\nDETAIL:  secret"))["error_message"] == "bad"


def test_the_access_log_has_facts_and_no_query_string() -> None:
    atoms = {
        "m": "GET",
        "U": "/orders",
        "q": "token=secret",
        "r": "GET /orders?token=secret HTTP/1.1",
        "s": "200",
        "B": 12,
        "D": 1500,
        "h": "::1",
        "a": "curl",
        "{x-request-id}o": "r-1",
    }
    access = logging.LogRecord("gunicorn.access", logging.INFO, "", 0, "%(r)s", (atoms,), None)

    text = AccessLineFormatter().format(access)

    fields = json.loads(text)
    assert "secret" not in text
    assert fields["message"] == "GET /orders 200"
    assert (fields["status"], fields["duration_seconds"], fields["correlation_id"]) == (200, 0.0015, "r-1")


SEVERAL_PROCESSES = """
import logging.config, os
from settings.logging import logging_config
logging.config.dictConfig(logging_config("INFO"))
for number in range(4):
    if os.fork() == 0:
        for _ in range(100):
            logging.getLogger("shop").info("long", extra={"text": str(number) * 20_000})
        os._exit(0)
for number in range(4):
    os.wait()
"""


def test_long_lines_of_several_processes_stay_whole_in_one_pipe() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL_PROCESSES], stderr=subprocess.PIPE, check=True, timeout=60
    )
    lines = [json.loads(each) for each in done.stderr.splitlines()]
    assert Counter(each["text"] for each in lines) == {str(number) * 20_000: 100 for number in range(4)}
