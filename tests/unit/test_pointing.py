from pathlib import Path

import numpy as np
import pytest
from boxed import write_boxed_manifest
from numpy.typing import NDArray

from models.taxonomy import KNOWN_DEFECTS
from training.data.manifest import Part
from training.data.voc import Box
from training.judging.pointing import Pointed, Pointing, measure, point, pool
from training.judging.serving import Served


def box(left: float, top: float, right: float, bottom: float) -> Box:
    return Box(label="scratches", left=left, top=top, right=right, bottom=bottom)


def hot(row: int, column: int, cells: int = 10) -> NDArray[np.float32]:
    heat = np.zeros((cells, cells), dtype=np.float32)
    heat[row, column] = 1.0
    return heat


def pointed(heat: NDArray[np.float32], *boxes: Box) -> Pointed:
    return point(heat, boxes, height=200, width=200)


@pytest.mark.parametrize(
    ("boxes", "inside", "near"),
    [
        ([box(80, 80, 120, 120)], 1, 1),
        ([box(0, 0, 20, 20), box(100, 100, 101, 120)], 0, 1),
        ([box(126, 80, 160, 130)], 0, 0),
        ([box(124, 80, 160, 130)], 0, 1),
        ([box(120, 120, 160, 160)], 0, 1),
        ([box(121, 121, 160, 160)], 0, 0),
        ([box(0, 0, 60, 60)], 0, 0),
    ],
    ids=["in", "in none but near", "16 to the right", "14", "14 askew", "16 askew", "far"],
)
def test_a_peak_counts_in_a_box_or_within_15_pixels_of_one(
    boxes: list[Box], inside: int, near: int
) -> None:
    """The hottest cell is in the middle of pixels 100 to 120."""
    result = pointed(hot(5, 5), *boxes)
    assert (result.inside, result.near) == (inside, near)


def test_a_hot_corner_is_pointed_at_in_the_middle_of_its_plateau() -> None:
    assert pointed(hot(0, 0, cells=5), box(8, 8, 12, 12)).inside == 1
    assert pointed(hot(0, 0, cells=5), box(0, 0, 3, 3)).inside == 0


def test_a_cold_heatmap_points_at_nothing() -> None:
    result = pointed(np.zeros((5, 5), dtype=np.float32), box(0, 0, 200, 200))
    assert (result.near, result.inside, result.heat) == (0, 0, 0)
    assert result.ceiling_inside == 1


def test_even_heat_lies_in_boxes_by_their_share_of_the_area() -> None:
    even = np.ones((5, 5), dtype=np.float32)
    result = pointed(even, box(0, 0, 100, 100), box(50, 50, 100, 100))
    assert result.heat == pytest.approx(1 / 4, abs=1e-4)
    assert result.chance_inside == pytest.approx(1 / 4)


def test_heat_in_one_half_lies_in_a_box_around_that_half() -> None:
    heat = np.ones((2, 10), dtype=np.float32)
    heat[:, 5:] = 0
    result = point(heat, [box(0, 0, 60, 100)], height=100, width=100)
    assert result.heat > 0.98
    assert point(heat, [box(60, 0, 100, 100)], height=100, width=100).heat < 0.02


def test_chance_is_the_area_of_the_box_and_of_the_ground_around_it() -> None:
    result = pointed(hot(0, 0), box(50, 50, 90, 80))
    around = 40 * 30 + 2 * 15 * (40 + 30) + np.pi * 15**2
    assert result.chance_inside == pytest.approx(40 * 30 / 200**2)
    assert result.chance_near == pytest.approx(around / 200**2, rel=0.01)


@pytest.mark.parametrize(
    ("thin", "inside", "near"),
    [(box(98, 0, 102, 200), 1, 1), (box(118, 0, 122, 200), 0, 0), (box(112, 0, 118, 200), 0, 1)],
)
def test_the_ceiling_is_what_the_centres_of_the_grid_can_hit(
    thin: Box, inside: int, near: int
) -> None:
    """Centres lie every 40 pixels: 20, 60, 100, 140, 180."""
    result = pointed(hot(0, 0, cells=5), thin)
    assert (result.ceiling_inside, result.ceiling_near) == (inside, near)


def test_a_model_s_pointing_is_measured_on_every_image_with_a_box(
    model: Path, tmp_path: Path
) -> None:
    manifest = write_boxed_manifest(tmp_path)
    served = Served.open(model, manifest)
    result = measure(served.model.runtime, manifest, Part.TEST, input_size=64, batch=5)
    assert result is not None
    assert result.grid == (2, 2)
    assert result.images == dict.fromkeys(KNOWN_DEFECTS, 2)
    assert result.left_out == len(KNOWN_DEFECTS)
    assert set(result.classes) == set(KNOWN_DEFECTS)
    assert result.mean.chance_inside == pytest.approx(1 / 4)
    assert result.mean.ceiling_inside == 1
    nears = [each.near for each in result.classes.values()]
    assert result.mean.near == pytest.approx(np.mean(nears))
    assert set(nears) <= {0, 0.5, 1}


def test_without_any_box_nothing_is_measured(model: Path, tmp_path: Path) -> None:
    manifest = write_boxed_manifest(tmp_path, each=1, boxed=0)
    runtime = Served.open(model, manifest).model.runtime
    assert measure(runtime, manifest, Part.TEST, input_size=64) is None


def game(**nears: tuple[float, ...]) -> Pointing:
    """A game whose classes have so many images, each hit or not."""
    hits = {name: float(np.mean(near)) for name, near in nears.items()}
    rows = {
        name: Pointed(**dict.fromkeys(Pointed.__dataclass_fields__, hit))
        for name, hit in hits.items()
    }
    return Pointing(
        grid=(5, 5),
        images={name: len(near) for name, near in nears.items()},
        left_out=1,
        classes=rows,
        mean=rows[min(rows)],
    )


def test_games_are_pooled_by_images_within_a_class_and_then_over_classes() -> None:
    pooled = pool([game(scratches=(1, 1, 1), patches=(0,)), game(scratches=(0,))])
    assert pooled is not None
    assert pooled.images == {"scratches": 4, "patches": 1}
    assert pooled.classes["scratches"].near == pytest.approx(3 / 4)
    assert pooled.mean.near == pytest.approx(3 / 8)
    assert pooled.left_out == 2
    assert pool([]) is None
