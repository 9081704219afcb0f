"""Whether heatmaps point at what people boxed: the pointing game, and the heat inside the boxes."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.decision import Floats
from models.heatmap import enlarge, heatmap
from models.runtimes.protocol import Runtime
from training.data.boxes import boxes_of
from training.data.dataset import Dataset, load_part
from training.data.manifest import Manifest, Part
from training.data.voc import Box

TOLERANCE_PX: Final = 15.0
"""Of Zhang et al. 2018 (arXiv:1608.00507), in pixels of the picture as it was delivered."""


@dataclass(frozen=True, kw_only=True)
class Pointed:
    """Shares of one class's images, or means over classes; 0..1.

    Attributes:
        near: the heatmap's peak lies in a box, or within the tolerance of one.
        inside: the peak lies in a box.
        heat: of the heat, what lies in boxes.
        chance_near, chance_inside: the same of a peak anywhere; `chance_inside` is also what `heat`
            would be of heat that is even.
        ceiling_near, ceiling_inside: of a network that always marked its best place: some centre
            of a cell of the feature map hits.
    """

    near: float
    inside: float
    heat: float
    chance_near: float
    chance_inside: float
    ceiling_near: float
    ceiling_inside: float


@dataclass(frozen=True, kw_only=True)
class Pointing:
    """The pointing game over one part of a manifest.

    The heat is that of each image's true class, whatever the network chose.

    Attributes:
        grid: rows and columns of the feature map.
        images: how many were measured, of each class that has any.
        left_out: images without a box of their class, or without a readable annotation.
        mean: over classes.
    """

    grid: tuple[int, int]
    images: dict[str, int]
    left_out: int
    classes: dict[str, Pointed]
    mean: Pointed


def measure(
    runtime: Runtime, manifest: Manifest, part: Part, *, input_size: int, batch: int = 16
) -> Pointing | None:
    """Play the pointing game on a part; None when no image has a box.

    Raises ManifestError as `training.data.dataset.load_part`.
    """
    images = manifest.of_part(part)
    found = {
        i: of for i, of in enumerate(boxes_of(manifest, part)) if of and of.of(images[i].label)
    }
    if not found:
        return None
    data = load_part(manifest, part, side=input_size)
    rows: dict[str, list[Pointed]] = {name: [] for name in manifest.classes}
    grid = (0, 0)
    for index, heat in _heatmaps(runtime, data, list(found), batch):
        grid = heat.shape[0], heat.shape[1]
        label, boxed = images[index].label, found[index]
        rows[label].append(point(heat, boxed.of(label), height=boxed.height, width=boxed.width))
    classes = {name: _mean(of) for name, of in rows.items() if of}
    return Pointing(
        grid=grid,
        images={name: len(of) for name, of in rows.items() if of},
        left_out=len(images) - len(found),
        classes=classes,
        mean=_mean(list(classes.values())),
    )


def pool(measured: Sequence[Pointing]) -> Pointing | None:
    """Several games, such as one for each fold, as one over all their images; None of none."""
    if not measured:
        return None
    names = list(dict.fromkeys(name for each in measured for name in each.classes))
    images = {name: sum(each.images.get(name, 0) for each in measured) for name in names}
    classes = {
        name: _mean(
            [each.classes[name] for each in measured for _ in range(each.images.get(name, 0))]
        )
        for name in names
    }
    return Pointing(
        grid=measured[0].grid,
        images=images,
        left_out=sum(each.left_out for each in measured),
        classes=classes,
        mean=_mean(list(classes.values())),
    )


def point(heat: Floats, boxes: Sequence[Box], *, height: int, width: int) -> Pointed:
    """One picture `(height, width)`, its heatmap `(h, w)` and its boxes; hits are 0 or 1.

    Where several places are equally hot, their middle is the peak: a picture with its hottest cell
    in a corner has a plateau there. Without any heat there is no peak, and no hit.
    """
    distance = _distance(boxes, height, width)
    inside, near = distance <= 0, distance <= TOLERANCE_PX
    shown = enlarge(heat, height, width)
    centres = distance[np.ix_(_centres(heat.shape[0], height), _centres(heat.shape[1], width))]
    hit_near = hit_inside = share = 0.0
    if (total := float(shown.sum())) > 0:
        peak = _peak(shown)
        hit_near, hit_inside = float(near[peak]), float(inside[peak])
        share = float(shown[inside].sum()) / total
    return Pointed(
        near=hit_near,
        inside=hit_inside,
        heat=share,
        chance_near=float(near.mean()),
        chance_inside=float(inside.mean()),
        ceiling_near=float((centres <= TOLERANCE_PX).any()),
        ceiling_inside=float((centres <= 0).any()),
    )


def _heatmaps(
    runtime: Runtime, data: Dataset, chosen: Sequence[int], batch: int
) -> Iterator[tuple[int, Floats]]:
    """The heatmap `(h, w)` of the true class of each chosen image; a few feature maps at a time."""
    for first in range(0, len(chosen), batch):
        indices = list(chosen[first : first + batch])
        maps = runtime.infer(data.pixels[indices], with_maps=True).maps
        if maps is None:
            raise RuntimeError(f"{runtime.name} gave no feature map when asked for one")
        for index, of_one in zip(indices, maps, strict=True):
            yield index, heatmap(of_one, runtime.head[data.labels[index]])


def _distance(boxes: Sequence[Box], height: int, width: int) -> NDArray[np.float64]:
    """From each pixel's centre to the nearest box, in pixels, `(height, width)`; 0 in a box."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    nearest = np.full((height, width), np.inf)
    for box in boxes:
        across = np.maximum(np.maximum(box.left - x, x - box.right), 0)
        down = np.maximum(np.maximum(box.top - y, y - box.bottom), 0)
        nearest = np.minimum(nearest, np.hypot(across, down))
    return nearest


def _peak(shown: Floats) -> tuple[int, int]:
    hottest = np.argwhere(shown >= shown.max() * (1 - 1e-6))
    offset = np.square(hottest - hottest.mean(axis=0)).sum(axis=1)
    row, column = hottest[offset.argmin()]
    return int(row), int(column)


def _centres(cells: int, pixels: int) -> NDArray[np.int_]:
    """The pixel in the middle of each cell."""
    return ((np.arange(cells) + 0.5) * pixels / cells).astype(int)


def _mean(of: Sequence[Pointed]) -> Pointed:
    columns = np.array([astuple(each) for each in of]).mean(axis=0)
    return Pointed(**dict(zip(Pointed.__dataclass_fields__, map(float, columns), strict=True)))
