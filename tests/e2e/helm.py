"""helm, built from the module file of tools/helm: it needs neither root nor a cluster. `python -m tests.e2e.helm ARGUMENTS` runs it."""

import os
import sys
from pathlib import Path

from tests.e2e.go_programs import CannotPrepare, build


def helm() -> Path:
    """Return the program, built if it is not in the cache. Raises CannotPrepare."""
    return build("helm", ["helm.sh/helm/v4/cmd/helm"]) / "helm"


def main() -> None:
    try:
        program = helm()
    except CannotPrepare as problem:
        sys.exit(f"e2e: {problem}")
    os.execv(program, ["helm", *sys.argv[1:]])


if __name__ == "__main__":
    main()
