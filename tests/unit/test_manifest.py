import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from models.preprocessing import decode
from training.data.manifest import (
    LabelledImage,
    Manifest,
    ManifestError,
    Part,
    hash_of_pixels,
    load_manifest,
    part_of,
)
from training.synthetic import draw_surface, encode

PARTS = (Part.FIT, Part.SELECT, Part.TEST)


def image(number: int, label: str, part: Part) -> LabelledImage:
    digest = sha256(str(number).encode()).hexdigest()
    return LabelledImage(
        path=f"{label}/{number}.jpg", label=label, sha256=digest, pixels=digest, part=part
    )


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    classes = ("crazing", "scratches")
    images = tuple(image(n, classes[n % 2], PARTS[n % 3]) for n in range(12))
    return Manifest(root=tmp_path / "images", classes=classes, images=images)


def test_a_manifest_comes_back_from_its_file_as_it_was(tmp_path: Path, manifest: Manifest) -> None:
    path = tmp_path / "new" / "manifest.json"
    manifest.save(path)
    assert load_manifest(path) == manifest
    assert list(path.parent.iterdir()) == [path]


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    odd = LabelledImage(
        path=b"caf\xe9/\n.jpg".decode(errors="surrogateescape"),
        label="crazing",
        sha256="ab",
        pixels="cd",
        part=Part.FIT,
    )
    manifest = Manifest(root=tmp_path, classes=("crazing",), images=(odd,))
    manifest.save(tmp_path / "manifest.json")
    assert load_manifest(tmp_path / "manifest.json") == manifest


def test_a_manifest_is_the_same_wherever_its_folder_lies_and_however_it_is_ordered(
    manifest: Manifest,
) -> None:
    moved = Manifest(
        root=Path("/elsewhere"), classes=manifest.classes, images=manifest.images[::-1]
    )
    assert moved.sha256 == manifest.sha256


def test_images_are_counted_by_part_and_label(manifest: Manifest) -> None:
    assert manifest.counts() == {part: Counter(crazing=2, scratches=2) for part in PARTS}
    assert sum(len(manifest.of_part(part)) for part in PARTS) == len(manifest.images)


# Groups


def grouped(manifest: Manifest) -> Manifest:
    """The second picture follows the hash of the first."""
    first, second, *rest = manifest.images
    return replace(manifest, images=(first, replace(second, group=first.pixels), *rest))


def test_a_picture_that_is_alone_decides_for_itself_and_its_row_says_nothing_of_groups(
    tmp_path: Path, manifest: Manifest
) -> None:
    manifest.save(tmp_path / "manifest.json")
    assert "group" not in (tmp_path / "manifest.json").read_text()
    assert all(image.group == image.pixels for image in manifest.images)


def test_the_hash_of_a_manifest_without_groups_is_what_it_always_was() -> None:
    images = tuple(image(n, "crazing", PARTS[n % 3]) for n in range(3))
    manifest = Manifest(root=Path("/data"), classes=("crazing",), images=images)
    assert manifest.sha256 == ("223ad6b51e834d1561ca602738f15618e8a2262d2b6292a96c6fc0e94e01d730")


def test_groups_come_back_from_the_file_and_count_in_the_hash(
    tmp_path: Path, manifest: Manifest
) -> None:
    together = grouped(manifest)
    together.save(tmp_path / "manifest.json")
    assert load_manifest(tmp_path / "manifest.json") == together
    assert together.sha256 != manifest.sha256


Document = dict[str, Any]


def lose_group(document: Document) -> None:
    for image in document["images"]:
        image.pop("group", None)


def test_a_manifest_whose_groups_were_edited_is_refused(tmp_path: Path, manifest: Manifest) -> None:
    path = tmp_path / "manifest.json"
    grouped(manifest).save(path)
    document = json.loads(path.read_text())
    lose_group(document)
    path.write_text(json.dumps(document))
    with pytest.raises(ManifestError, match="edited by hand"):
        load_manifest(path)


def relabel(document: Document) -> None:
    document["images"][0]["label"] = "scratches"


def move_part(document: Document) -> None:
    document["images"][0]["part"] = "test"


def drop_image(document: Document) -> None:
    del document["images"][0]


def swap_classes(document: Document) -> None:
    document["classes"].reverse()


def other_content(document: Document) -> None:
    document["images"][0]["sha256"] = "0" * 64


@pytest.mark.parametrize("edit", [relabel, move_part, drop_image, swap_classes, other_content])
def test_a_manifest_edited_by_hand_is_refused(
    tmp_path: Path, manifest: Manifest, edit: Callable[[Document], None]
) -> None:
    path = tmp_path / "manifest.json"
    manifest.save(path)
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
    with pytest.raises(ManifestError, match=r"edited by hand .* prepare it again"):
        load_manifest(path)


def without(key: str) -> Callable[[str], str]:
    return lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != key})


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda _: "[]",
        lambda _: "",
        lambda text: text.replace('"fit"', '"fitted"'),
        lambda text: text.replace('"label"', '"name"'),
        *(without(key) for key in ("format", "root", "classes", "sha256", "images")),
    ],
)
def test_a_damaged_manifest_is_refused_in_words_that_say_what_to_do(
    tmp_path: Path, manifest: Manifest, damage: Callable[[str], str]
) -> None:
    path = tmp_path / "manifest.json"
    manifest.save(path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(
        ManifestError, match=r"manifest\.json is not a manifest .* prepare it again"
    ):
        load_manifest(path)


def test_a_manifest_of_another_format_is_refused(tmp_path: Path, manifest: Manifest) -> None:
    path = tmp_path / "manifest.json"
    manifest.save(path)
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(ManifestError, match="has format 2, this version reads 1; prepare it again"):
        load_manifest(path)


def test_a_manifest_that_is_not_there_is_asked_for_by_command(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="does not exist; write it with `millwatch prepare`"):
        load_manifest(tmp_path / "none.json")


# Parts


def test_the_parts_get_the_shares_that_were_asked_for() -> None:
    hashes = [sha256(str(number).encode()).hexdigest() for number in range(20_000)]
    parts = Counter(part_of(h, select_percent=15, test_percent=20) for h in hashes)
    assert parts[Part.TEST] == pytest.approx(4000, rel=0.06)
    assert parts[Part.SELECT] == pytest.approx(3000, rel=0.06)
    assert parts[Part.FIT] == pytest.approx(13_000, rel=0.03)


@pytest.mark.parametrize(
    ("select", "test", "part"), [(100, 0, Part.SELECT), (0, 100, Part.TEST), (0, 0, Part.FIT)]
)
def test_all_or_nothing_can_be_asked_for(select: int, test: int, part: Part) -> None:
    hashes = [sha256(str(number).encode()).hexdigest() for number in range(500)]
    assert {part_of(h, select_percent=select, test_percent=test) for h in hashes} == {part}


def test_one_picture_stored_twice_falls_on_one_side() -> None:
    pixels = draw_surface("crazing", seed=1, height=64, width=64)
    stored = {hash_of_pixels(decode(encode(pixels, form)).pixels) for form in ("png", "bmp")}
    assert stored == {hash_of_pixels(pixels)}
    assert hash_of_pixels(pixels[:, ::-1]) not in stored


def test_the_part_of_a_picture_is_for_good() -> None:
    """Held in the words of the rule: the first eight hex digits, in hundredths."""
    for number in range(200):
        digest = sha256(str(number).encode()).hexdigest()
        hundredth = int(digest[:8], 16) % 100
        part = part_of(digest, select_percent=10, test_percent=30)
        expected = Part.TEST if hundredth < 30 else Part.SELECT if hundredth < 40 else Part.FIT
        assert part is expected


def test_the_shape_of_a_picture_is_part_of_its_hash() -> None:
    flat = draw_surface("crazing", seed=1, height=32, width=64)
    assert hash_of_pixels(flat) != hash_of_pixels(flat.reshape(64, 32))
