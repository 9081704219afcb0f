"""What a rolling line does to a picture, done at random to a batch.

Everything works on float grey batches `(N, H, W)` in 0..255, on any device, from one generator.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How much is done.

    Attributes:
        min_area: the smallest share of the picture that a crop keeps.
        tilt_degrees: small rotation, either way, on top of quarter turns and mirroring.
        quarter_turns: whether to turn by 90 degrees at random.
        gradient: amplitude of uneven light, as a share of the local brightness.
        contrast: gain is drawn from 1/(1+contrast) to 1+contrast.
        exposure: offset either way, in grey levels.
        noise: largest standard deviation of sensor noise, in grey levels.
        blur: share of the pictures that are defocused or smeared.
    """

    min_area: float = 0.6
    tilt_degrees: float = 10.0
    quarter_turns: bool = True
    gradient: float = 0.5
    contrast: float = 0.6
    exposure: float = 40.0
    noise: float = 20.0
    blur: float = 0.3

    def __call__(self, images: Tensor, *, size: int, random: Generator) -> Tensor:
        """Uint8 grey `(N, H, W)` to float `(N, size, size)` in 0..255."""
        x = self._place(images.float(), size, random)
        x = self._light(x, random)
        x = self._soften(x, random)
        return self._add_noise(x, random).clamp(0, 255)

    def _place(self, images: Tensor, size: int, random: Generator) -> Tensor:
        """Crop, tilt, turn and mirror in one resampling, mirrored at the border."""
        count = len(images)
        draw = _Draw(random, count, images.device)
        scale = draw.between(self.min_area, 1.0).sqrt()
        angle = draw.between(-1.0, 1.0) * math.radians(self.tilt_degrees)
        if self.quarter_turns:
            angle = angle + draw.integers(4) * (math.pi / 2)
        flip_x, flip_y = draw.signs(), draw.signs()
        cos, sin = angle.cos() * scale, angle.sin() * scale
        room = 1 - scale
        matrix = torch.stack(
            [
                torch.stack([cos * flip_x, -sin * flip_y, draw.between(-1.0, 1.0) * room], dim=1),
                torch.stack([sin * flip_x, cos * flip_y, draw.between(-1.0, 1.0) * room], dim=1),
            ],
            dim=1,
        )
        grid = functional.affine_grid(matrix, [count, 1, size, size], align_corners=False)
        return functional.grid_sample(
            images.unsqueeze(1), grid, padding_mode="reflection", align_corners=False
        ).squeeze(1)

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
        return ((x - mean) * gain + mean + offset).clamp(0, 255)

    def _soften(self, x: Tensor, random: Generator) -> Tensor:
        """Defocus (a Gaussian) or motion (a Gaussian drawn out along a direction)."""
        chosen = torch.rand(len(x), generator=random, device=x.device) < self.blur
        count = int(chosen.sum())
        if count == 0:
            return x
        draw = _Draw(random, count, x.device)
        along = draw.between(0.3, 2.5)
        across = torch.where(draw.between(0.0, 1.0) < 0.5, along, torch.full_like(along, 0.3))
        angle = draw.between(0.0, math.pi)
        radius = 5
        axis = torch.arange(-radius, radius + 1, device=x.device, dtype=torch.float32)
        u = angle.cos()[:, None, None] * axis[None, None, :] + (
            angle.sin()[:, None, None] * axis[None, :, None]
        )
        v = -angle.sin()[:, None, None] * axis[None, None, :] + (
            angle.cos()[:, None, None] * axis[None, :, None]
        )
        exponent = (u / along[:, None, None]) ** 2 + (v / across[:, None, None]) ** 2
        kernels = torch.exp(-0.5 * exponent)
        kernels = kernels / kernels.sum(dim=(1, 2), keepdim=True)
        padded = functional.pad(x[chosen].unsqueeze(0), [radius] * 4, mode="reflect")
        softened = functional.conv2d(padded, kernels.unsqueeze(1), groups=count).squeeze(0)
        result = x.clone()
        result[chosen] = softened
        return result

    def _add_noise(self, x: Tensor, random: Generator) -> Tensor:
        draw = _Draw(random, len(x), x.device)
        # Squared: most pictures get little, a few get a lot.
        amount = (self.noise * draw.between(0.0, 1.0).square())[:, None, None]
        return x + amount * torch.randn(x.shape, generator=random, device=x.device)


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
