"""How the log looks, for people and for machines."""

import json
import logging

import pytest

from npu_agent.cli.logs import JsonFormatter, TextFormatter


def record(text: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("npu_agent", logging.WARNING, "file", 1, text, None, None)
    made.__dict__.update(extra)
    return made


def test_a_fact_has_its_event_and_fields_in_json() -> None:
    line = JsonFormatter().format(record("R is unhealthy: too hot", event="accelerator_failed", fields={"accelerator": "R"}))
    said = json.loads(line)
    assert {name: said[name] for name in ("level", "event", "message", "accelerator")} == {
        "level": "warning",
        "event": "accelerator_failed",
        "message": "R is unhealthy: too hot",
        "accelerator": "R",
    }


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])
def test_a_line_cannot_be_forged_nor_steer_a_terminal(formatter: logging.Formatter) -> None:
    line = formatter.format(record("kubelet: no\n2026-01-01T00:00:00.000Z error forged\u2028\x1b[31m\r"))
    assert line.isprintable()
