"""What a configuration may say and hardly means to."""

from npu_agent.config.advice import remarks
from npu_agent.config.reading import parse


def test_a_resource_that_can_get_no_accelerator_is_remarked() -> None:
    text = """
resources:
- {name: a/0, select: {families: rngd}}
- {name: a/1, select: {families: [rngd]}}
- {name: a/2}
- {name: a/3, select: {ids: x}}
- {name: a/4, select: {families: rngd, attributes: {module: "3"}}}
"""
    told = [str(remark).partition(" selects")[0] for remark in remarks(parse(text, "agent.yaml"))]
    assert told == [
        "resources[1]: gets no accelerator: resources[0]",
        "resources[3]: gets no accelerator: resources[2]",
        "resources[4]: gets no accelerator: resources[2]",
    ]
