"""`npu-agent config`: every mistake at once, in the options of backends too, and the defaults made visible."""

import subprocess
from pathlib import Path

from npu_agent.config.configuration import DEFAULT
from npu_agent.config.reading import parse
from tests.cli.running import npu_agent
from tests.program import PROGRAM, environment


def test_a_right_configuration_is_said_to_be_right(configuration: Path) -> None:
    checked = npu_agent("config", "check", configuration)
    assert (checked.returncode, checked.stdout) == (0, f"{configuration} is right: furiosa.ai/npu by fake\n")


def test_a_resource_that_can_get_no_accelerator_is_remarked_and_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("backends: {fake: }\nresources:\n- {name: a/all}\n- {name: a/rngd, select: {families: rngd}}\n")
    checked = npu_agent("config", "check", path)
    assert checked.returncode == 0
    remark = "resources[1]: gets no accelerator: resources[0] selects the same ones and comes first; put the narrower one first"
    assert checked.stderr == f"npu-agent: {path}: {remark}\n"


def test_every_mistake_is_told_with_its_line_and_status_2(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("resources:\n- name: npu\n  policy: tight\nrecover_after: often\n")
    checked = npu_agent("config", "check", NPU_AGENT_CONFIG=str(path))
    assert checked.returncode == 2
    assert checked.stderr.splitlines() == [
        f"npu-agent: {path} has 3 mistakes:",
        '  line 2: resources[0].name: expected DOMAIN/NAME, such as furiosa.ai/npu, got "npu"; without a domain it is a resource of'
        " Kubernetes itself",
        '  line 3: resources[0].policy: expected "packed" or "spread" or "apart", got "tight"',
        '  line 4: recover_after: expected an integer from 1 to 1000, got "often"',
    ]


def test_mistakes_in_the_options_of_all_backends_are_told(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("backends:\n  fake:\n    accelerators:\n    - {}\n    - numa_node: x\n  nope: {}\n")
    checked = npu_agent("config", "check", path)
    assert checked.returncode == 2
    assert checked.stderr.splitlines() == [
        f"npu-agent: {path} has 2 mistakes:",
        '  line 5: backends.fake.accelerators[1].numa_node: expected an integer from 0 to 1023, got "x"',
        "  line 6: backends.nope: there is no backend 'nope'; there are fake, sysfs",
    ]


def test_a_partition_that_no_backend_has_is_told(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("backends: {fake: {}}\nresources:\n- name: a/b\n  partition: 3core\n")
    checked = npu_agent("config", "check", path)
    assert checked.returncode == 2
    assert 'line 4: resources[0].partition: no family has parts of the kind "3core"; there are 2core, 4core' in checked.stderr


def test_serve_refuses_a_wrong_configuration_like_check(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("recover_after: 0\n")
    served, checked = npu_agent("serve", "-c", path, "--runtime-dir", tmp_path), npu_agent("config", "check", path)
    assert (served.returncode, served.stderr) == (checked.returncode, checked.stderr) == (2, checked.stderr)


def test_show_prints_a_configuration_that_means_the_same(configuration: Path) -> None:
    shown = npu_agent("config", "show", configuration)
    assert shown.returncode == 0
    assert "recover_after: 3\n" in shown.stdout
    assert parse(shown.stdout, "shown") == parse(configuration.read_text(), "written")


def test_show_without_a_file_prints_the_defaults() -> None:
    assert parse(npu_agent("config", "show").stdout, "shown") == DEFAULT


def test_an_output_that_cannot_be_written_is_status_1_in_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        shown = subprocess.run([PROGRAM, "config", "show"], stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), check=False)
    assert (shown.returncode, shown.stderr) == (1, "npu-agent: the output cannot be written: No space left on device\n")
