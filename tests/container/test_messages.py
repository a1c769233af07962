"""What a machine that cannot build is told: one line with what is missing."""

import os
from pathlib import Path

import pytest

from container import binary, builder, image


def test_the_image_is_built_as_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(binary.CannotBuild, match=r"^the image is built as root: run make image as root, or build container/Containerfile"):
        image.build(tmp_path, name="localhost/npu-agent:tests")


def test_a_program_that_is_missing_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(binary.CannotBuild, match=r"^objcopy is not in PATH: install binutils$"):
        binary.build(tmp_path / "dist", tmp_path / "work")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(binary.CannotBuild, match=r"^buildah and mmdebstrap are missing, and there is no apt-get to install them with"):
        builder.prepare("buildah", "mmdebstrap")


def test_a_file_of_backends_that_cannot_be_taken_is_named(tmp_path: Path) -> None:
    with pytest.raises(binary.CannotBuild, match=r"nothing\.txt is not a file that names backends"):
        binary.build(tmp_path / "dist", tmp_path / "work", backends=tmp_path / "nothing.txt")
    elsewhere = tmp_path / "backends.txt"
    elsewhere.write_text("acme-npu==1.0\n")
    with pytest.raises(binary.CannotBuild, match=r"backends\.txt is not a file in .*/requirements"):
        image.build(tmp_path / "dist", name="localhost/npu-agent:tests", backends=elsewhere)
