from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from models.preprocessing import decode
from training.data.dataset import load_part
from training.data.manifest import LabelledImage, Manifest, ManifestError, Part, hash_of_pixels
from training.synthetic import draw_surface, encode

CLASSES = ("crazing", "patches", "scratches")


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Six images to fit on, one to select on, none to test on."""
    images = []
    for number in range(7):
        label = CLASSES[number % 3]
        data = encode(draw_surface(label, seed=number, height=80, width=60), "jpeg")
        (tmp_path / f"{number}.jpg").write_bytes(data)
        images.append(
            LabelledImage(
                path=f"{number}.jpg",
                label=label,
                sha256=sha256(data).hexdigest(),
                pixels=hash_of_pixels(decode(data).pixels),
                part=Part.FIT if number < 6 else Part.SELECT,
            )
        )
    return Manifest(root=tmp_path, classes=CLASSES, images=tuple(images))


def test_a_part_is_decoded_as_the_daemon_decodes_in_the_manifest_s_order(
    manifest: Manifest,
) -> None:
    part = load_part(manifest, Part.FIT, side=48)
    assert len(part) == 6
    assert part.pixels.shape == (6, 48, 48)
    assert part.labels.tolist() == [0, 1, 2, 0, 1, 2]
    for pixels, image in zip(part.pixels, manifest.of_part(Part.FIT), strict=True):
        served = decode((manifest.root / image.path).read_bytes(), size=48).pixels
        np.testing.assert_array_equal(pixels, served)


def test_a_part_without_images_is_refused_by_name(manifest: Manifest) -> None:
    with pytest.raises(ManifestError, match="no image in its part 'test'; prepare it with more"):
        load_part(manifest, Part.TEST, side=48)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "cannot be read .*prepare the data again"),
        (b"", "has changed since it was prepared; prepare the data again"),
        (encode(draw_surface("patches", seed=9), "jpeg"), "has changed since it was prepared"),
    ],
    ids=["gone", "emptied", "another picture"],
)
def test_an_image_that_is_not_the_one_that_was_prepared_is_refused(
    manifest: Manifest, data: bytes | None, words: str
) -> None:
    path = manifest.root / "3.jpg"
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ManifestError, match=rf"3\.jpg {words}"):
        load_part(manifest, Part.FIT, side=48)


def test_an_image_that_is_no_picture_is_refused_with_its_reason(
    tmp_path: Path, manifest: Manifest
) -> None:
    text = b"not a picture"
    (tmp_path / "text.jpg").write_bytes(text)
    image = LabelledImage(
        path="text.jpg",
        label="crazing",
        sha256=sha256(text).hexdigest(),
        pixels="",
        part=Part.TEST,
    )
    broken = Manifest(root=manifest.root, classes=CLASSES, images=(*manifest.images, image))
    with pytest.raises(ManifestError, match=r"text\.jpg cannot be read \(not_an_image"):
        load_part(broken, Part.TEST, side=48)
