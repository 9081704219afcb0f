"""What a camera's latest images have in common: identical, black, overexposed; or that none come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from config.settings import Settings
from daemon.process.health import Health
from daemon.values import Delivery, Finding

Pixels = NDArray[np.uint8]
_KINDS: Final = ("stuck", "black", "overexposed")


@dataclass
class _Sight:
    """One camera: since when it is silent, and how many of its latest images are of a kind."""

    seen_at: float
    sha256: str = ""
    pixels: Pixels | None = None
    in_a_row: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_KINDS, 0))


class Sights:
    """Told of every recorded image by the pipeline's thread, which also asks who is silent."""

    def __init__(self, settings: Settings, *, health: Health, now: float) -> None:
        self._rules = settings.drift
        self._silent_after = {
            camera.name: camera.silent_after_minutes * 60 for camera in settings.cameras
        }
        self._health = health
        self._sights = {camera.name: _Sight(seen_at=now) for camera in settings.cameras}

    def reconfigure(self, settings: Settings) -> None:
        """Tell what these say from the next image on. From any thread."""
        self._rules = settings.drift

    def see(
        self, findings: Sequence[Finding], pixels: Mapping[Delivery, Pixels | None], *, now: float
    ) -> None:
        """These were recorded, in their order."""
        for finding in findings:
            # An image of a camera that was taken out of the configuration is seen through as well.
            sight = self._sights.get(finding.delivery.camera)
            if sight is None:
                continue
            sight.seen_at = now
            if self._rules.enabled and finding.appearance is not None:
                camera, brightness = finding.delivery.camera, finding.appearance.brightness
                shown = pixels.get(finding.delivery)
                self._compare(camera, finding.sha256, brightness, shown)

    def remember(self, camera: str, latest: Sequence[tuple[str, float]]) -> None:
        """Go on where the daemon before this one was: else a restart would tell that it is over.

        Args:
            latest: content hash and brightness of the camera's latest images, the oldest first.
        """
        if self._rules.enabled:
            for sha256, brightness in latest:
                self._compare(camera, sha256, brightness, None)

    def remember_silence(self, camera: str, seconds: float, *, now: float) -> None:
        """So long before the start it delivered last, and was told to be silent: it is, until an image comes."""
        if seconds >= self._silent_after[camera]:
            self._sights[camera].seen_at = now - seconds

    def tell_silent(self, waiting: Mapping[str, int], *, now: float) -> None:
        """Tell which cameras deliver nothing. What waits to be judged has been delivered."""
        for name, sight in self._sights.items():
            seconds = self._silent_after[name]
            trouble = f"silent {name}"
            if waiting.get(name):
                sight.seen_at = now
            if seconds and now - sight.seen_at >= seconds:
                self._health.trouble(
                    trouble,
                    f"camera {name} has delivered no image for {(now - sight.seen_at) / 60:.0f} "
                    "minutes; see whether it runs and reaches its drop folder, or whether the line "
                    "stands",
                )
            else:
                self._health.mended(trouble)
            if not self._rules.enabled:  # perhaps since a moment ago: no image will mend them
                for kind in _KINDS:
                    self._health.mended(f"{kind} {name}")

    def _compare(self, camera: str, sha256: str, brightness: float, pixels: Pixels | None) -> None:
        sight = self._sights[camera]
        black = brightness <= self._rules.black_below
        overexposed = brightness >= self._rules.overexposed_above
        same = sha256 == sight.sha256 or _equal(pixels, sight.pixels)
        sight.sha256, sight.pixels = sha256, pixels
        kinds = {
            # Without light, or in the glare, all pictures are the same: that is told instead.
            "stuck": same and not black and not overexposed,
            "black": black,
            "overexposed": overexposed,
        }
        for kind, is_so in kinds.items():
            sight.in_a_row[kind] = sight.in_a_row[kind] + 1 if is_so else 0
            self._tell(kind, camera, sight.in_a_row[kind], brightness)

    def _tell(self, kind: str, camera: str, count: int, brightness: float) -> None:
        # The first of identical images is like no other: it counts once there is a second.
        images = count + 1 if kind == "stuck" and count else count
        enough = self._rules.images_in_a_row
        if not enough or images < enough:
            self._health.mended(f"{kind} {camera}")
            return
        what = {
            "stuck": f"the last {images} images of camera {camera} are identical: it delivers one "
            "picture again and again. Start the camera or its program anew, and see whether the "
            "line moves",
            "black": f"the last {images} images of camera {camera} are black (brightness "
            f"{brightness:.0f} of 255). See to its lamp, its lens cap and its exposure",
            "overexposed": f"the last {images} images of camera {camera} are overexposed "
            f"(brightness {brightness:.0f} of 255). See to its lamp and its exposure",
        }
        self._health.trouble(f"{kind} {camera}", what[kind])


def _equal(one: Pixels | None, other: Pixels | None) -> bool:
    if one is None or other is None:
        return False
    # The first row tells nearly always, in a tenth of the time.
    return np.array_equal(one[0], other[0]) and np.array_equal(one, other)
