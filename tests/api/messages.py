"""The messages of npu_agent/api, made and read by kubelet's names: fields are found by their numbers, as on the wire."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import betterproto2

import npu_agent.api.v1  # registers its messages
import npu_agent.api.v1beta1  # noqa: F401
from npu_agent.api.message_pool import default_message_pool
from tests.api.contract import MESSAGES


def message_class(name: str) -> type[betterproto2.Message]:
    return default_message_pool.url_to_type[f"type.googleapis.com/{name}"]


def attributes(name: str) -> dict[int, str]:
    """Return the attribute of each field number."""
    cls: Any = message_class(name)  # a dataclass, which their common base is not
    return {field.metadata["betterproto"].number: field.name for field in dataclasses.fields(cls)}


def our_message(name: str, value: Mapping[str, Any]) -> betterproto2.Message:
    package = name.partition(".")[0]
    fields = {field.name: field for field in MESSAGES[name]}

    def converted(field_name: str, given: Any) -> Any:
        of = f"{package}.{fields[field_name].type}"
        if of not in MESSAGES:
            return given
        return [our_message(of, item) for item in given] if fields[field_name].label == "repeated" else our_message(of, given)

    named = attributes(name)
    return message_class(name)(**{named[fields[key].number]: converted(key, given) for key, given in value.items()})
