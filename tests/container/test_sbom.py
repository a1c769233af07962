"""What a document says of an inventory."""

from container.sbom import document

DIGEST = "sha256:" + "ab" * 32
INVENTORY = {
    "python": "3.11.2",
    "machine": "x86_64",
    "distributions": {"anyio": {"version": "4.16.0", "sha256": "cd" * 32}, "own-backend": {"version": "1"}},
    "libraries": {
        "/lib/x86_64-linux-gnu/libc.so.6": {
            "distribution": "debian",
            "package": "libc6",
            "version": "2.36-9+deb12u1",
            "architecture": "amd64",
        },
        "/lib/x86_64-linux-gnu/libm.so.6": {
            "distribution": "debian",
            "package": "libc6",
            "version": "2.36-9+deb12u1",
            "architecture": "amd64",
        },
        "/usr/lib/libz.so.1": {"distribution": "debian", "package": "zlib1g", "version": "1:1.2.13", "architecture": "amd64"},
        "/usr/local/lib/libpython3.11.so.1.0": {},
    },
}


def test_each_part_is_named_once_with_what_is_known_of_it() -> None:
    made = document(INVENTORY, version="0.1.0", digest=DIGEST, created="2026-11-25T10:00:00Z")
    parts = {part["name"]: part for part in made["components"]}
    assert [*parts] == ["anyio", "own-backend", "python", "libc6", "zlib1g", "libpython3.11.so.1.0"]
    assert parts["anyio"]["purl"] == "pkg:pypi/anyio@4.16.0"
    assert parts["anyio"]["hashes"] == [{"alg": "SHA-256", "content": "cd" * 32}]
    assert "hashes" not in parts["own-backend"]
    assert parts["libc6"]["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64"
    assert [each["value"] for each in parts["libc6"]["properties"]] == [
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib/x86_64-linux-gnu/libm.so.6",
    ]
    assert parts["zlib1g"]["purl"] == "pkg:deb/debian/zlib1g@1%3A1.2.13?arch=amd64"
    assert "purl" not in parts["libpython3.11.so.1.0"]


def test_the_image_depends_on_every_part_and_each_reference_is_there_once() -> None:
    made = document(INVENTORY, version="0.1.0", digest=DIGEST, created="2026-11-25T10:00:00Z")
    references = [part["bom-ref"] for part in made["components"]]
    assert len(references) == len({*references})
    first, *others = made["dependencies"]
    assert first == {"ref": made["metadata"]["component"]["bom-ref"], "dependsOn": references}
    assert [other["ref"] for other in others] == references


def test_the_same_image_has_the_same_document_and_another_one_another_number() -> None:
    same = [document(INVENTORY, version="0.1.0", digest=DIGEST, created="2026-11-25T10:00:00Z") for _ in range(2)]
    other = document(INVENTORY, version="0.1.0", digest="sha256:" + "ef" * 32, created="2026-11-25T10:00:00Z")
    assert same[0] == same[1]
    assert other["serialNumber"] != same[0]["serialNumber"]
