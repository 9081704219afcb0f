import numpy as np
import pytest
from numpy.typing import NDArray

from training.judging.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from training.synthetic import SURFACES, draw_surface


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    return np.stack([draw_surface(name, seed=2, height=96, width=120) for name in SURFACES])


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_each_severity_spoils_more_and_the_same_seed_spoils_alike(
    pictures: NDArray[np.uint8], kind: str
) -> None:
    damage = []
    for severity in SEVERITIES:
        spoilt = corrupt(pictures, kind, severity, seed=3)
        assert spoilt.shape == pictures.shape
        assert spoilt.dtype == np.uint8
        assert np.array_equal(spoilt, corrupt(pictures, kind, severity, seed=3))
        damage.append(float(np.abs(spoilt.astype(float) - pictures).mean()))
    assert 0.5 < damage[0] < damage[1] < damage[2]


@pytest.mark.parametrize("kind", ["motion blur", "defocus"])
def test_a_blur_moves_no_light_out_of_a_point_but_as_far_as_it_says(kind: str) -> None:
    point = np.zeros((1, 101, 101), dtype=np.uint8)
    point[0, 50, 50] = 255
    spread = [np.argwhere(corrupt(point, kind, severity, seed=1)[0]) for severity in SEVERITIES]
    for severity, (where, length) in enumerate(zip(spread, (5, 9, 13), strict=True), 1):
        reach = np.linalg.norm(where - 50, axis=1).max()
        assert reach <= length / 2 + 0.8, severity
        assert reach >= length / 2 - 2.2, severity


def test_noise_is_as_strong_as_it_says() -> None:
    flat = np.full((1, 200, 200), 128, dtype=np.uint8)
    strengths = [corrupt(flat, "noise", severity, seed=1).std() for severity in SEVERITIES]
    assert strengths == pytest.approx([8, 16, 25], rel=0.05)


def test_uneven_light_is_even_on_the_whole() -> None:
    flat = np.full((1, 200, 200), 100, dtype=np.uint8)
    lit = corrupt(flat, "illumination", 3, seed=1)[0].astype(float)
    assert lit.mean() == pytest.approx(100, abs=1)
    assert (lit.min(), lit.max()) == pytest.approx((30, 170), abs=3)
