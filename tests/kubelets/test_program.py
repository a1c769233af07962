"""What is driven here, by what Go put down in it: the code of the release that it is called after."""

import re
import subprocess
from pathlib import Path


def test_the_device_manager_is_that_of_the_release(version: str, program: Path) -> None:
    noted = subprocess.run(["go", "version", "-m", program], capture_output=True, text=True, check=True).stdout
    # With its sum, so that nothing local stands in for it.
    built = dict(re.findall(r"^\t(?:dep|=>)\t(\S+)\t(\S+)\th1:\S+$", noted, re.MULTILINE))
    assert built["k8s.io/kubernetes"] == f"v{version}"
    assert built["k8s.io/kubelet"] == f"v{version.replace('1.', '0.', 1)}"
