"""Drawn surfaces laid out as NEU-DET is, some with boxes, and their manifest."""

from hashlib import sha256
from pathlib import Path

from models.preprocessing import decode
from models.taxonomy import KNOWN_DEFECTS
from training.data.manifest import LabelledImage, Manifest, Part, hash_of_pixels
from training.synthetic import draw_surface, encode


def annotation(label: str, *boxes: tuple[int, int, int, int]) -> str:
    """A Pascal VOC annotation; a box is left, top, right, bottom."""
    corners = ("xmin", "ymin", "xmax", "ymax")
    objects = (
        f"<object><name>{label}</name><bndbox>"
        + "".join(f"<{tag}>{at}</{tag}>" for tag, at in zip(corners, box, strict=True))
        + "</bndbox></object>"
        for box in boxes
    )
    return f"<annotation>{''.join(objects)}</annotation>"


def write_boxed_manifest(root: Path, *, each: int = 3, boxed: int = 2, side: int = 96) -> Manifest:
    """Test images of every known defect; the first `boxed` of each have a box
    around their upper left quarter."""
    annotations = root / "train" / "annotations"
    annotations.mkdir(parents=True)
    images = []
    for label in KNOWN_DEFECTS:
        folder = root / "train" / "images" / label
        folder.mkdir(parents=True)
        for number in range(each):
            file = folder / f"{label}_{number}.jpg"
            pixels = draw_surface(label, seed=200 + number, height=side, width=side)
            file.write_bytes(data := encode(pixels, "jpeg"))
            if number < boxed:
                xml = annotation(label, (0, 0, side // 2, side // 2))
                (annotations / f"{file.stem}.xml").write_text(xml)
            images.append(
                LabelledImage(
                    path=file.relative_to(root).as_posix(),
                    label=label,
                    sha256=sha256(data).hexdigest(),
                    pixels=hash_of_pixels(decode(data).pixels),
                    part=Part.TEST,
                )
            )
    return Manifest(root=root, classes=KNOWN_DEFECTS, images=tuple(images))
