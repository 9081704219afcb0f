from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor
from torch.nn import functional

from training.fitting.augmentation import Augmentation
from training.fitting.recipe import RECIPES, STEEL
from training.synthetic import SURFACES, draw_surface

NOTHING = Augmentation(
    min_area=1.0,
    tilt_degrees=0.0,
    quarter_turns=False,
    gradient=0.0,
    contrast=0.0,
    exposure=0.0,
    noise=0.0,
    blur=0.0,
)
STRONGER: dict[str, Any] = {
    "min_area": 0.3,
    "tilt_degrees": 20.0,
    "quarter_turns": True,
    "gradient": 0.5,
    "contrast": 0.6,
    "exposure": 40.0,
    "noise": 20.0,
    "over": 1.0,
    "blur": 1.0,
    "blur_pixels": 13.0,
    "together": 0.0,
    "compressed": 1.0,
    "quality": 60,
}
"""For each setting of `NOTHING`, a value that must be seen."""
ONLY_WITH: dict[str, dict[str, Any]] = {
    "blur_pixels": {"blur": 1.0},
    "together": {"blur": 1.0, "noise": 20.0},
    "quality": {"compressed": 1.0},
}
"""Settings that change nothing without another."""


def test_every_setting_has_a_stronger_value() -> None:
    """But the one that only boxes are seen with, which has a test of its own."""
    assert {field.name for field in fields(Augmentation)} == {*STRONGER, "keep_boxed"}


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """Uint8 `(28, 80, 80)`, four of each surface."""
    drawn = [
        draw_surface(name, seed=seed, height=80, width=80) for name in SURFACES for seed in range(4)
    ]
    return torch.from_numpy(np.stack(drawn))


def seeded(seed: int = 1) -> Generator:
    return Generator().manual_seed(seed)


def mirrored(pictures: Tensor) -> Tensor:
    """All four ways to mirror them, `(4, N, H, W)`."""
    floats = pictures.float()
    return torch.stack([floats, floats.flip(1), floats.flip(2), floats.flip(1, 2)])


def closest(result: Tensor, candidates: Tensor) -> Tensor:
    """For each picture the mean difference to its nearest candidate, in grey levels, `(N,)`."""
    return (candidates - result).abs().mean(dim=(2, 3)).amin(dim=0)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_gives_floats_of_the_size_asked_for_within_the_range(
    pictures: Tensor, name: str
) -> None:
    augmentation = RECIPES[name].augmentation
    for size in (48, 80, 96):
        result = augmentation(pictures, size=size, random=seeded())
        assert result.shape == (28, size, size)
        assert result.dtype == torch.float32
        assert 0 <= result.min() < result.max() <= 255


def test_extreme_pictures_stay_in_range() -> None:
    extremes = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None].expand(2, 64, 64)
    wild = Augmentation(contrast=5.0, exposure=200.0, noise=100.0, gradient=3.0, blur=1.0)
    result = wild(extremes, size=64, random=seeded())
    assert result.isfinite().all()
    assert 0 <= result.min() < result.max() <= 255


def test_the_same_generator_gives_the_same_pictures_and_another_does_not(pictures: Tensor) -> None:
    first, again, other = (
        STEEL.augmentation(pictures, size=64, random=seeded(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nothing_but_the_generator_is_random(pictures: Tensor) -> None:
    torch.manual_seed(1)
    first = STEEL.augmentation(pictures, size=64, random=seeded())
    torch.manual_seed(2)
    assert torch.equal(first, STEEL.augmentation(pictures, size=64, random=seeded()))


def test_with_every_amount_at_zero_a_picture_is_only_mirrored(pictures: Tensor) -> None:
    result = NOTHING(pictures, size=80, random=seeded())
    assert closest(result, mirrored(pictures)).max() < 0.01
    unmirrored = (result - pictures).abs().mean(dim=(1, 2)) < 0.01
    assert 0 < unmirrored.sum() < len(pictures)


def test_a_smaller_size_is_the_same_picture_resampled(pictures: Tensor) -> None:
    result = NOTHING(pictures, size=40, random=seeded())
    halved = functional.avg_pool2d(pictures.float().unsqueeze(1), 2).squeeze(1)
    assert closest(result, mirrored(halved)).max() < 0.01


def test_quarter_turns_turn_and_do_nothing_else(pictures: Tensor) -> None:
    result = replace(NOTHING, quarter_turns=True)(pictures, size=80, random=seeded())
    upright = mirrored(pictures)
    sideways = mirrored(pictures.transpose(1, 2))
    assert closest(result, torch.cat([upright, sideways])).max() < 0.05
    assert 0 < (closest(result, upright) < 0.05).sum() < len(pictures)


@pytest.mark.parametrize("setting", STRONGER)
def test_each_setting_is_seen(pictures: Tensor, setting: str) -> None:
    before = replace(NOTHING, **ONLY_WITH.get(setting, {}))
    plain = before(pictures, size=80, random=seeded())
    changed = replace(before, **{setting: STRONGER[setting]})
    result = changed(pictures, size=80, random=seeded())
    assert (result - plain).abs().mean() > 1


def test_exposure_shifts_and_contrast_stretches(pictures: Tensor) -> None:
    middle = (96 + pictures.float() / 4).to(torch.uint8)
    before = NOTHING(middle, size=80, random=seeded())
    shifted = replace(NOTHING, exposure=30.0)(middle, size=80, random=seeded())
    offsets = (shifted - before).flatten(1)
    assert offsets.std(dim=1).max() < 0.01
    assert offsets.mean(dim=1).abs().max() <= 30
    stretched = replace(NOTHING, contrast=0.5)(middle, size=80, random=seeded())
    gains = stretched.std(dim=(1, 2)) / before.std(dim=(1, 2))
    assert 1 / 1.5 - 0.01 <= gains.min() < 1 < gains.max() <= 1.51


def test_noise_is_no_stronger_than_its_setting() -> None:
    flat = torch.full((40, 64, 64), 128, dtype=torch.uint8)
    noisy = replace(NOTHING, noise=20.0)(flat, size=64, random=seeded())
    strengths = noisy.std(dim=(1, 2))
    assert strengths.max() < 21
    assert strengths.min() < 2


def test_blur_softens_as_many_pictures_as_it_says(pictures: Tensor) -> None:
    many = pictures.repeat(8, 1, 1)
    plain = NOTHING(many, size=80, random=seeded())
    soft = replace(NOTHING, blur=0.3)(many, size=80, random=seeded())

    def roughness(x: Tensor) -> Tensor:
        return (x[:, 1:] - x[:, :-1]).abs().mean(dim=(1, 2))

    touched = (soft - plain).abs().amax(dim=(1, 2)) > 0.01
    assert 0.2 < touched.float().mean() < 0.4
    assert (roughness(soft)[touched] <= roughness(plain)[touched]).all()
    assert soft[touched].mean().item() == pytest.approx(plain[touched].mean().item(), rel=0.01)


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_surface_looks_like_is_still_to_be_seen(pictures: Tensor, name: str) -> None:
    """Rough surfaces stay rougher than smooth ones, whatever the light and the noise."""
    result = RECIPES[name].augmentation(pictures, size=80, random=seeded())
    before, after = (
        functional.avg_pool2d(x.float().unsqueeze(1), 4).std(dim=(2, 3)).squeeze(1)
        for x in (pictures, result)
    )
    assert np.corrcoef(before, after)[0, 1] > 0.5


def test_what_is_exposed_too_long_is_cut_off_and_cannot_be_brought_back(pictures: Tensor) -> None:
    bright = (128 + pictures.float() / 2).to(torch.uint8)
    plain = NOTHING(bright, size=80, random=seeded())
    over = replace(NOTHING, over=1.0)(bright, size=80, random=seeded())
    gains = over.mean(dim=(1, 2)) / plain.mean(dim=(1, 2))
    assert 0.5 - 0.01 <= gains.min() < 0.8
    assert (over == 255).float().mean(dim=(1, 2)).max() > 0.5


def test_compression_is_as_bad_as_its_quality_and_leaves_the_others_alone(pictures: Tensor) -> None:
    plain = NOTHING(pictures, size=80, random=seeded())
    some = replace(NOTHING, compressed=0.5)(pictures, size=80, random=seeded())
    damage = (some - plain).abs().mean(dim=(1, 2))
    assert 0 < (damage < 0.5).sum() < len(pictures)
    assert damage.max() < 30


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_every_batch_has_as_many_blurred_pictures(pictures: Tensor, share: float) -> None:
    for seed in range(5):
        blurring = replace(NOTHING, blur=share, blur_pixels=13.0)
        seen = blurring(pictures, size=80, random=Generator().manual_seed(seed))
        plain = NOTHING(pictures, size=80, random=Generator().manual_seed(seed))
        blurred = (seen != plain).flatten(1).any(dim=1)
        assert blurred.sum() == share * len(pictures)


def test_a_part_of_a_picture_is_one_by_chance(pictures: Tensor) -> None:
    half = replace(NOTHING, blur=0.5, blur_pixels=13.0)
    seen = [half(pictures[:1], size=80, random=Generator().manual_seed(n)) for n in range(20)]
    plain = NOTHING(pictures[:1], size=80, random=seeded())
    assert 0 < sum(bool((one != plain).any()) for one in seen) < 20


def test_what_is_blurred_is_spoilt_no_further_unless_it_is_said(pictures: Tensor) -> None:
    spoiling = replace(NOTHING, blur=1.0, blur_pixels=9.0, noise=30.0, compressed=1.0, quality=5)
    many = pictures.repeat(8, 1, 1)
    blurred, some = (
        replace(spoiling, together=together)(many, size=80, random=seeded())
        for together in (0.0, 0.3)
    )
    plain = replace(NOTHING, blur=1.0, blur_pixels=9.0)(many, size=80, random=seeded())
    assert torch.equal(blurred, plain)
    spoilt = (some - plain).abs().amax(dim=(1, 2)) > 0.01
    assert 0.2 < spoilt.float().mean() < 0.4


def squares(count: int) -> tuple[Tensor, Tensor]:
    """Black pictures uint8 `(N, 96, 96)` with a white square of 24 px, which is boxed."""
    pictures = torch.zeros(count, 96, 96, dtype=torch.uint8)
    boxed = torch.zeros(count, 2, 48, 48)
    corners = torch.randint(0, 36, (count, 2), generator=seeded(3)).tolist()
    for picture, own, (top, left) in zip(pictures, boxed[:, 0], corners, strict=True):
        picture[2 * top : 2 * top + 24, 2 * left : 2 * left + 24] = 255
        own[top : top + 12, left : left + 12] = 1
    return pictures, boxed


def test_what_is_boxed_is_turned_and_cropped_with_its_picture() -> None:
    pictures, boxed = squares(40)
    moving = replace(NOTHING, min_area=0.5, tilt_degrees=20.0, quarter_turns=True)
    seen, maps = moving.with_boxes(pictures, boxed, size=64, random=seeded())
    assert maps.shape == (40, 2, 16, 16)
    shown = functional.avg_pool2d(seen.unsqueeze(1), 4).squeeze(1) / 255
    assert (shown - maps[:, 0]).abs().mean() < 0.02
    assert (shown - maps[:, 0].flip(1)).abs().mean() > 0.05
    assert maps[:, 1].max() == 0


def test_pictures_are_the_same_with_boxes_and_without_them(pictures: Tensor) -> None:
    nowhere = torch.zeros(len(pictures), 2, 48, 48)
    plain = replace(STEEL.augmentation, keep_boxed=0.0)
    seen, _ = plain.with_boxes(pictures, nowhere, size=64, random=seeded())
    assert torch.equal(seen, plain(pictures, size=64, random=seeded()))


def test_a_crop_keeps_what_is_boxed_where_it_can() -> None:
    """One crop misses a square more often than four of them do."""
    pictures, boxed = squares(200)
    whole = boxed[:, 0].sum(dim=(1, 2)) * (64 / 96) ** 2 / 4

    def kept(share: float) -> int:
        crops = replace(NOTHING, min_area=0.1, keep_boxed=share)
        _, maps = crops.with_boxes(pictures, boxed, size=64, random=seeded())
        return int((maps[:, 0].sum(dim=(1, 2)) >= 0.5 * whole).sum())

    assert kept(0.0) < 180
    assert kept(0.5) > 190
