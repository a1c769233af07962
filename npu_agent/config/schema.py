"""The configuration as a JSON Schema (draft 2020-12), for editors and for checks without the agent."""

from collections.abc import Mapping
from typing import Any

import msgspec

from npu_agent.config.configuration import Settings
from npu_agent.schema.json_schema import Definitions


def json_schema(options: Mapping[str, type[msgspec.Struct]] | None = None) -> dict[str, Any]:
    """Return the JSON Schema of a configuration file; `options` are the structs of the options of backends, by the backends' names.

    It takes every file that the agent takes. What a schema cannot say (two resources of one name, what a backend knows) is left to
    `npu-agent config check`.
    """
    definitions = Definitions()
    document = definitions.document(Settings)
    if options:
        backends = definitions.schemas[Settings.__name__]["properties"]["backends"]["anyOf"][0]
        backends["properties"] = {name: definitions.of_section(kind) for name, kind in options.items()}
    return document
