"""What a rolling line does to a picture, done at random to a batch.

Everything works on float grey batches `(N, H, W)` in 0..255, on any device, from one generator.
"""

import io
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional

_MORE_TRIES: Final = 3
_LEAST: Final = 1e-6


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How much is done.

    Attributes:
        min_area: the smallest share of the picture that a crop keeps.
        tilt_degrees: small rotation, either way, on top of quarter turns and mirroring.
        quarter_turns: whether to turn by 90 degrees at random.
        keep_boxed: of what is boxed, the share that a crop keeps where one in a few tries does. A
            crop beside the defect carries its label for nothing.
        gradient: amplitude of uneven light, as a share of the local brightness.
        contrast: gain is drawn from 1/(1+contrast) to 1+contrast.
        exposure: offset either way, in grey levels.
        over: a picture may be exposed from 1/(1+over) to 1+over times as long; what is then too
            bright is lost, as in a sensor.
        noise: largest standard deviation of sensor noise, in grey levels.
        blur: share of the pictures that are defocused or smeared.
        blur_pixels: how far that reaches at most, from end to end, in pixels of the whole picture.
        together: share of those blurred pictures that noise and JPEG may spoil as well. What blur
            leaves of a fine texture is lost in noise: together they teach little.
        compressed: share of the pictures that go through JPEG.
        quality: the worst quality of that JPEG, as libjpeg counts.
    """

    min_area: float = 0.6
    tilt_degrees: float = 10.0
    quarter_turns: bool = True
    keep_boxed: float = 0.0
    gradient: float = 0.5
    contrast: float = 0.6
    exposure: float = 40.0
    over: float = 0.0
    noise: float = 20.0
    blur: float = 0.3
    blur_pixels: float = 5.0
    together: float = 1.0
    compressed: float = 0.0
    quality: int = 10

    def __call__(self, images: Tensor, *, size: int, random: Generator) -> Tensor:
        """Uint8 grey `(N, H, W)` to float `(N, size, size)` in 0..255."""
        view = self._view(_Draw(random, len(images), images.device), None)
        return self._taken(images, view, size, random)

    def with_boxes(
        self, images: Tensor, boxed: Tensor, *, size: int, random: Generator
    ) -> tuple[Tensor, Tensor]:
        """The same, and what is boxed of each: float `(N, 2, size / 4, size / 4)` in 0..1.

        Args:
            boxed: as `training.data.boxes.coverage`, on the device of the images.
        """
        view = self._view(_Draw(random, len(images), images.device), boxed)
        return self._taken(images, view, size, random), _seen(boxed, view, size // 4)

    def _taken(self, images: Tensor, view: Tensor, size: int, random: Generator) -> Tensor:
        """What the camera sees there, and all that a bad day does to it."""
        x = _seen(images.float().unsqueeze(1), view, size).squeeze(1)
        x = self._light(x, random)
        blurred = _some(self.blur, x, random)
        x = self._soften(x, blurred, self.blur_pixels * size / images.shape[-1], random)
        more = ~blurred | _some(self.together, x, random)
        x = self._add_noise(x, more, random).clamp(0, 255)
        return self._compress(x, more & _some(self.compressed, x, random), random)

    def _view(self, draw: "_Draw", boxed: Tensor | None) -> Tensor:
        """Crop, tilt, turn and mirror, as `affine_grid` takes it: `(N, 2, 3)`."""
        scale = draw.between(self.min_area, 1.0).sqrt()
        angle = draw.between(-1.0, 1.0) * math.radians(self.tilt_degrees)
        if self.quarter_turns:
            angle = angle + draw.integers(4) * (math.pi / 2)
        flip_x, flip_y = draw.signs(), draw.signs()
        cos, sin = angle.cos() * scale, angle.sin() * scale
        turned = torch.stack([cos * flip_x, -sin * flip_y, sin * flip_x, cos * flip_y], dim=1)

        def view() -> Tensor:
            moved = torch.stack([draw.between(-1.0, 1.0), draw.between(-1.0, 1.0)], dim=1)
            moved = moved * (1 - scale)[:, None]
            return torch.cat([turned.view(-1, 2, 2), moved[:, :, None]], dim=2)

        chosen = view()
        if boxed is None or self.keep_boxed == 0:
            return chosen
        own = functional.avg_pool2d(boxed[:, :1], 2)
        kept = _share_kept(own, chosen, scale)
        for _ in range(_MORE_TRIES):
            other = view()
            share = _share_kept(own, other, scale)
            better = (kept < self.keep_boxed) & (share > kept)
            chosen = torch.where(better[:, None, None], other, chosen)
            kept = torch.where(better, share, kept)
        return chosen

    def _light(self, x: Tensor, random: Generator) -> Tensor:
        """Uneven light (a ramp and a smooth field), gain and exposure."""
        count, size = len(x), x.shape[-1]
        draw = _Draw(random, count, x.device)
        axis = torch.linspace(-1, 1, size, device=x.device)
        angle = draw.between(0.0, 2 * math.pi)
        ramp = (
            angle.cos()[:, None, None] * axis[None, None, :]
            + angle.sin()[:, None, None] * axis[None, :, None]
        )
        coarse = torch.randn((count, 1, 4, 4), generator=random, device=x.device)
        field = functional.interpolate(coarse, size=(size, size), mode="bicubic").squeeze(1)
        amount = self.gradient * draw.between(0.0, 1.0)[:, None, None]
        x = x * (1 + amount * (0.7 * ramp + 0.3 * field)).clamp(min=0.05)
        gain = torch.exp(draw.between(-1.0, 1.0) * math.log1p(self.contrast))[:, None, None]
        mean = x.mean(dim=(1, 2), keepdim=True)
        offset = draw.between(-self.exposure, self.exposure)[:, None, None]
        x = (x - mean) * gain + mean + offset
        if self.over:
            longer = torch.exp(draw.between(-1.0, 1.0) * math.log1p(self.over))[:, None, None]
            x = x * longer
        return x.clamp(0, 255)

    def _soften(self, x: Tensor, chosen: Tensor, pixels: float, random: Generator) -> Tensor:
        """Defocus (a disc with a soft rim) or motion (a disc drawn out along a direction)."""
        count = int(chosen.sum())
        if count == 0:
            return x
        kernels = _kernels(_Draw(random, count, x.device), pixels / 2)
        radius = kernels.shape[-1] // 2
        padded = functional.pad(x[chosen].unsqueeze(0), [radius] * 4, mode="reflect")
        softened = functional.conv2d(padded, kernels.unsqueeze(1), groups=count).squeeze(0)
        result = x.clone()
        result[chosen] = softened
        return result

    def _add_noise(self, x: Tensor, chosen: Tensor, random: Generator) -> Tensor:
        draw = _Draw(random, len(x), x.device)
        # Squared: most pictures get little, a few get a lot.
        amount = (self.noise * chosen * draw.between(0.0, 1.0).square())[:, None, None]
        return x + amount * torch.randn(x.shape, generator=random, device=x.device)

    def _compress(self, x: Tensor, chosen: Tensor, random: Generator) -> Tensor:
        if not chosen.any():
            return x
        draw = _Draw(random, int(chosen.sum()), x.device)
        # Squared: what harms most is shown most.
        squared = draw.between(0.0, 1.0).square()
        qualities = (self.quality + (60 - self.quality) * squared).round().int().tolist()
        pictures = x[chosen].round().to("cpu", torch.uint8).numpy()
        again = [_through_jpeg(*each) for each in zip(pictures, qualities, strict=True)]
        result = x.clone()
        result[chosen] = torch.from_numpy(np.stack(again)).to(x)
        return result


def _seen(pictures: Tensor, view: Tensor, size: int) -> Tensor:
    """Pictures `(N, C, H, W)` in one resampling to `(N, C, size, size)`, mirrored at the border."""
    grid = functional.affine_grid(view, [len(pictures), 1, size, size], align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def _share_kept(own: Tensor, view: Tensor, scale: Tensor) -> Tensor:
    """Of what is boxed, `(N, 1, h, w)`, the share that each view shows, `(N,)`."""
    grid = functional.affine_grid(view, list(own.shape), align_corners=False)
    shown = functional.grid_sample(own, grid, padding_mode="zeros", align_corners=False)
    whole = own.sum(dim=(1, 2, 3)).clamp(min=_LEAST)
    return shown.sum(dim=(1, 2, 3)) * scale.square() / whole


def _some(share: float, x: Tensor, random: Generator) -> Tensor:
    """That share of a batch `(N, H, W)`, chosen by chance: bool `(N,)`.

    Every batch has as many, but for what chance adds to a part of one: batch-norm statistics of batches
    that are mostly blurred, or hardly, would be noise.
    """
    count, device = len(x), x.device
    many = (share * count + torch.rand((), generator=random, device=device)).floor()
    return torch.randperm(count, generator=random, device=device) < many


def _kernels(draw: "_Draw", reach: float) -> Tensor:
    """Smearing kernels `(N, k, k)` of sum 1 and of at most that radius, in pixels."""
    along = draw.between(0.5, reach)
    across = torch.where(draw.between(0.0, 1.0) < 0.5, along, torch.full_like(along, 0.5))
    angle = draw.between(0.0, math.pi)
    radius = math.ceil(reach)
    axis = torch.arange(-radius, radius + 1, device=angle.device, dtype=torch.float32)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    u = cos * axis[None, None, :] + sin * axis[None, :, None]
    v = -sin * axis[None, None, :] + cos * axis[None, :, None]
    distance = (u / along[:, None, None]) ** 2 + (v / across[:, None, None]) ** 2
    kernels = torch.exp(-(distance**2))
    return kernels / kernels.sum(dim=(1, 2), keepdim=True)


def _through_jpeg(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


class _Draw:
    """One random value for each picture of a batch, `(N,)`."""

    def __init__(self, random: Generator, count: int, device: torch.device) -> None:
        self._random, self._count, self._device = random, count, device

    def between(self, low: float, high: float) -> Tensor:
        unit = torch.rand(self._count, generator=self._random, device=self._device)
        return low + (high - low) * unit

    def integers(self, below: int) -> Tensor:
        return torch.randint(
            below, (self._count,), generator=self._random, device=self._device
        ).float()

    def signs(self) -> Tensor:
        return self.integers(2) * 2 - 1
