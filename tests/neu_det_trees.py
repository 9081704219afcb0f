"""Small NEU-DET folders, whole and broken."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.findings import Finding, PreparationReport
from training.data.manifest import Manifest
from training.data.neu_det import prepare

WHOLE = (1, 1, 16, 16)
SIDE = 16

NamedBox = tuple[str, tuple[float, float, float, float]]


def picture(path: Path, *, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def voc(*boxes: NamedBox, filename: str, size: tuple[int, int] | None = None) -> str:
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for label, (left, top, right, bottom) in boxes
    )
    known = "<size><width>{}</width><height>{}</height></size>".format(*size) if size else ""
    return f"<annotation><filename>{filename}</filename>{known}{objects}</annotation>"


class Tree:
    """A NEU-DET folder under construction, each picture different unless its seed is given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._seed = 1000

    def add(
        self,
        name: str,
        *boxes: NamedBox,
        folder: str = "crazing",
        half: str = "train",
        xml: str | None = "",
        seed: int | None = None,
        pixels: NDArray[np.uint8] | None = None,
    ) -> Path:
        """One picture with its XML: whole-picture box of its folder's class unless told otherwise.

        `xml` is the text of the file, None for none. `pixels` are stored without loss.
        """
        self._seed += 1
        file = picture(self.root / half / "images" / folder / name, seed=seed or self._seed)
        if pixels is not None:
            Image.fromarray(pixels).save(file, format="PNG")
        if xml is not None:
            text = xml or voc(*(boxes or ((folder, WHOLE),)), filename=name)
            self.annotate(file.stem, text, half=half)
        return file

    def annotate(self, stem: str, text: str, *, half: str = "train") -> Path:
        file = self.root / half / "annotations" / f"{stem}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def prepare(self) -> tuple[Manifest, PreparationReport]:
        """With every train picture in fit, so that a test need not know hashes."""
        return prepare(self.root, select_percent=0, test_percent=0)

    def findings(self) -> tuple[Finding, ...]:
        return self.prepare()[1].findings

    def lines(self) -> tuple[str, ...]:
        return self.prepare()[1].lines()

    def label_of(self, name: str) -> str | None:
        labels = {Path(image.path).name: image.label for image in self.prepare()[0].images}
        return labels.get(name)
