"""A model that fails on a picture, or on every one (row 17)."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from builders import Station, assert_every_image_accounted_for, surface_file
from composed import Wrapped, by_hand
from numpy.typing import NDArray

from daemon.serving import load_serving_model
from models.preprocessing import decode
from models.runtimes.protocol import Outputs


@dataclass
class Fragile(Wrapped):
    """A runtime that fails on some pictures, as an inference library with a defect does."""

    poison: NDArray[np.uint8] | None = None
    broken: bool = False

    def infer(self, images: NDArray[np.uint8], *, with_maps: bool = False) -> Outputs:
        if self.broken:
            raise RuntimeError("the device is lost")
        if any(np.array_equal(image, self.poison) for image in images):
            raise MemoryError("this picture is too much")
        return self.sound.infer(images, with_maps=with_maps)


@pytest.mark.fault(17)
@pytest.mark.parametrize("others", [0, 13])
def test_only_the_picture_that_the_model_fails_on_is_set_aside(
    station: Station, others: int
) -> None:
    poison = surface_file(seed=500)
    model = load_serving_model(station.settings())
    pixels = decode(poison, size=model.input_size).pixels
    model = replace(model, runtime=Fragile(sound=model.runtime, poison=pixels))
    station.drop_surfaces(others)
    station.drop("top-1", "poison.jpg", poison)
    with by_hand(station.settings(), model=model) as line:
        line.work_until(lambda: station.count() == others + 1)
    unreadable = "SELECT filename, reason, notes FROM inspections WHERE verdict = 'unreadable'"
    ((name, reason, notes),) = station.query(unreadable)
    assert (name, reason) == ("poison.jpg", "not_judged")
    assert "this picture is too much" in notes
    assert_every_image_accounted_for(station)


@pytest.mark.fault(17)
def test_a_model_that_fails_on_everything_sets_no_image_aside_and_may_recover(
    station: Station,
) -> None:
    model = load_serving_model(station.settings())
    runtime = Fragile(sound=model.runtime, broken=True)
    station.drop_surfaces(5)
    with by_hand(station.settings(), model=replace(model, runtime=runtime)) as line:
        line.work_until(lambda: "device is lost" in line.health.troubles().get("judging", ""))
        assert station.count() == 0
        runtime.broken = False
        line.work_until(lambda: station.count() == 5)
        assert line.health.troubles() == {}
    assert station.reasons() == {}
    assert_every_image_accounted_for(station)


@pytest.mark.fault(30)
def test_the_network_is_never_given_more_images_at_once_than_configured(
    station: Station,
) -> None:
    sizes: list[int] = []

    class Counting(Fragile):
        def infer(self, images: NDArray[np.uint8], *, with_maps: bool = False) -> Outputs:
            sizes.append(len(images))
            return super().infer(images, with_maps=with_maps)

    station.tables = {"batching": {"max_images": 7}}
    station.write_config()
    model = load_serving_model(station.settings())
    station.drop_surfaces(30)
    with by_hand(
        station.settings(), model=replace(model, runtime=Counting(sound=model.runtime))
    ) as line:
        line.work_until(lambda: station.count() == 30)
    assert max(sizes) == 7
    assert_every_image_accounted_for(station)
