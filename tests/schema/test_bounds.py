"""What the worst documents cost: a refusal within half a second (0.2 s on an idle machine) and 20 MiB, however they are wrong."""

import time
import tracemalloc

import pytest

import npu_agent.schema.document  # noqa: F401 - what its import costs is not the document's
from npu_agent.config.errors import ConfigurationError
from npu_agent.config.reading import parse
from npu_agent.schema.document import MAX_BYTES, MAX_KEY, MAX_VALUES

SECONDS = 0.5
BYTES = 20 << 20


def nested(key: str, levels: int, innermost: str) -> str:
    return "".join(f"{' ' * level}{key}:\n" for level in range(levels)) + innermost


MANY = MAX_VALUES - 100
WORST = {
    "a key of 300 KiB over a long list": f"? {'k' * (300 << 10)}\n: [{'a,' * 200_000}]",
    "28 nested keys of 900 letters": nested("k" * 900, 28, f"{' ' * 28}- a\n" * 30_000),
    "28 nested keys of the longest": nested("k" * MAX_KEY, 28, f"{' ' * 28}- a\n" * MANY),
    "a long list": f"[{'1,' * (MAX_BYTES // 2 - 1)}]",
    "many unknown fields": "".join(f"k{number}: 1\n" for number in range(MANY)),
    "many unknown fields that must be quoted": "".join(f'"\\e{number}": 1\n' for number in range(MANY)),
    "many resources without a name": "resources:\n" + "- {}\n" * MANY,
    "many wrong fields of resources": "resources:\n" + "- {select: {familes: 1, ids: 3}}\n" * (MANY // 4),
    "many wrong patterns": f"exclude: {{ids: [{'1,' * MANY}]}}",
    "many wrong backends": "backends:\n" + "".join(f"  b{number}: 1\n" for number in range(MANY)),
    "one long text": f"resources: [{{name: {'a' * (MAX_BYTES - 30)}}}]",
    "many tags": "".join(f"%TAG !{number}! a\n" for number in range(70_000)) + "--- 1",
    "many levels": "[" * MAX_BYTES,
}


@pytest.mark.parametrize("text", WORST.values(), ids=WORST.keys())
def test_a_document_that_would_cost_much_is_refused_quickly_and_shortly(text: str) -> None:
    begun = time.process_time()
    with pytest.raises(ConfigurationError) as refused:
        parse(text, "agent.yaml")
    assert time.process_time() - begun < SECONDS
    assert len(str(refused.value)) < 25_000
    assert str(refused.value).count("\n") <= 21


@pytest.mark.parametrize("text", WORST.values(), ids=WORST.keys())
def test_a_document_that_would_cost_much_is_refused_within_little_memory(text: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ConfigurationError):
            parse(text, "agent.yaml")
        assert tracemalloc.get_traced_memory()[1] < BYTES
    finally:
        tracemalloc.stop()
