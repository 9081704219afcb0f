"""The labelled images of a line: read, checked, and divided for good."""

import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from config.text import counted
from models.preprocessing import UnreadableError, decode
from training.data.duplicates import fingerprint, grouped, near_duplicates
from training.data.manifest import Part, hash_of_pixels, part_of
from training.retraining.run_folder import Label, RunError

HELD_OUT_PERCENT: Final = 20
"""Of a line's labelled images: no run ever trains on them."""
MOST_IMAGES: Final = 4000
"""That one run takes in, 160 MB at 200 pixels and 410 at 320; the newest of each class, evenly."""
FEWEST_OF_A_CLASS: Final = 3
"""Fitted images below which a class cannot be learned."""
_LARGEST_GROUP: Final = 20
"""More pictures alike than this, and than one in twenty, are how this line looks: no near-copies."""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A labelled image that the run leaves out, and why, in words."""

    label: Label
    reason: str


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A line's images.

    Attributes:
        classes: those of the current model, then new ones by name.
        pixels: uint8 grey `(N, side, side)`, by each side that was asked for.
        labels: index into `classes`, `(N,)`.
        groups: a hash for each, shared by those that are nearly the same picture.
        held_out: by content, for good, bool `(N,)`.
    """

    classes: tuple[str, ...]
    sources: tuple[Label, ...]
    pixels: Mapping[int, NDArray[np.uint8]]
    labels: NDArray[np.int64]
    groups: tuple[str, ...]
    held_out: NDArray[np.bool_]
    skipped: tuple[Skipped, ...]

    def counts(self, chosen: NDArray[np.bool_]) -> dict[str, int]:
        """How many of the chosen images each class has."""
        found = np.bincount(self.labels[chosen], minlength=len(self.classes))
        return {name: int(count) for name, count in zip(self.classes, found, strict=True) if count}

    @property
    def manifest_sha256(self) -> str:
        """Of contents, labels and parts; the same wherever the files lie."""
        rows = sorted(
            (source.sha256, source.label, bool(out))
            for source, out in zip(self.sources, self.held_out, strict=True)
        )
        return hashlib.sha256(repr((self.classes, rows)).encode()).hexdigest()


def load_labelled(
    labels: Sequence[Label],
    known: tuple[str, ...],
    *,
    sides: Collection[int],
    earlier: Mapping[str, bool] = MappingProxyType({}),
    on_image: Callable[[int, int], None] = lambda _, __: None,
) -> Labelled:
    """Read every labelled image that can be read.

    Args:
        known: the classes of the current model.
        sides: of the pictures that are wanted of each.
        earlier: by the SHA-256 of a file, whether runs before this one held it out.

    Raises:
        RunError: when nothing can be learned from what is left, in words for an operator.
    """
    chosen = _newest(labels)
    skipped: list[Skipped] = []
    kept: list[_Read] = []
    for number, label in enumerate(chosen):
        try:
            kept.append(_read(label, sides))
        except (OSError, UnreadableError, RunError) as error:
            skipped.append(Skipped(label=label, reason=str(error)))
        on_image(number + 1, len(chosen))
    kept, contradictions = _without_contradictions(kept)
    skipped += contradictions
    groups = _groups(kept)
    held_out = _held_out(kept, groups, earlier)
    kept, groups, held_out, rare = _without_rare(kept, groups, held_out, known)
    skipped += rare
    if not kept:
        raise RunError(
            f"no class has {FEWEST_OF_A_CLASS} labelled images to learn from "
            f"({counted(len(labels), 'label')}, {len(skipped)} left out); label more and retrain"
        )
    if held_out.all():
        raise RunError(
            f"what can be learned from ({counted(len(kept), 'labelled image')}) belongs to the fifth that is "
            "held out; label more and retrain"
        )
    names = {image.label.label for image in kept}
    classes = known + tuple(sorted(names.difference(known)))
    return Labelled(
        classes=classes,
        sources=tuple(image.label for image in kept),
        pixels={side: np.stack([image.pixels[side] for image in kept]) for side in sides},
        labels=np.array([classes.index(image.label.label) for image in kept], dtype=np.int64),
        groups=tuple(groups),
        held_out=held_out,
        skipped=tuple(skipped),
    )


@dataclass(frozen=True, kw_only=True)
class _Read:
    label: Label
    pixels: Mapping[int, NDArray[np.uint8]]
    content: str
    fingerprint: NDArray[np.float16]


def _newest(labels: Sequence[Label]) -> list[Label]:
    """All of them, or as many of each class as there is room for, oldest first."""
    by_class: defaultdict[str, list[Label]] = defaultdict(list)
    for label in sorted(labels, key=lambda each: each.image_id):
        by_class[label.label].append(label)
    room = MOST_IMAGES
    chosen: list[Label] = []
    for left, rows in zip(
        range(len(by_class), 0, -1), sorted(by_class.values(), key=len), strict=True
    ):
        taken = rows[-(room // left) :]
        room -= len(taken)
        chosen += taken
    return sorted(chosen, key=lambda each: each.image_id)


def _read(label: Label, sides: Collection[int]) -> _Read:
    data = label.path.read_bytes()
    if hashlib.sha256(data).hexdigest() != label.sha256:
        raise RunError("its content has changed since it was labelled")
    # The line judged these very bytes, by limits of its own: it knew them to be whole.
    seen = partial(decode, data, max_pixels=sys.maxsize, allow_zero_tail=True)
    whole = seen().pixels
    return _Read(
        label=label,
        pixels={side: seen(size=side).pixels for side in sides},
        content=hash_of_pixels(whole),
        fingerprint=fingerprint(whole),
    )


def _without_contradictions(read: Sequence[_Read]) -> tuple[list[_Read], list[Skipped]]:
    """Without pictures that carry two labels."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for image in read:
        names[image.content].add(image.label.label)
    kept = [image for image in read if len(names[image.content]) == 1]
    skipped = [
        Skipped(
            label=image.label,
            reason=f"the same picture is labelled {' and '.join(sorted(names[image.content]))}",
        )
        for image in read
        if len(names[image.content]) > 1
    ]
    return kept, skipped


def _groups(read: Sequence[_Read]) -> list[str]:
    """For each picture the content hash that decides its part: of the first one of its group.

    The first by the database's order and not the smallest hash, which any later one might have.
    """
    found = [image.content for image in read]
    for members in grouped(len(read), near_duplicates([image.fingerprint for image in read])):
        if len(members) <= max(_LARGEST_GROUP, len(read) // 20):
            for index in members:
                found[index] = read[min(members)].content
    return found


def _held_out(
    read: Sequence[_Read], groups: Sequence[str], earlier: Mapping[str, bool]
) -> NDArray[np.bool_]:
    """Whether each is held out, `(N,)`: as ever before; else as its near-copies; else by its content."""
    of_group: defaultdict[str, set[bool]] = defaultdict(set)
    for image, group in zip(read, groups, strict=True):
        if image.label.sha256 in earlier:
            of_group[group].add(earlier[image.label.sha256])

    def is_out(image: _Read, group: str) -> bool:
        if image.label.sha256 in earlier:
            return earlier[image.label.sha256]
        if of_group[group]:
            # What is nearly the same as a fitted one shows nothing new.
            return all(of_group[group])
        return part_of(group, select_percent=0, test_percent=HELD_OUT_PERCENT) is Part.TEST

    found = [is_out(image, group) for image, group in zip(read, groups, strict=True)]
    return np.array(found, dtype=np.bool_)


def _without_rare(
    read: list[_Read], groups: list[str], held_out: NDArray[np.bool_], known: tuple[str, ...]
) -> tuple[list[_Read], list[str], NDArray[np.bool_], list[Skipped]]:
    """Without new classes of too few fitted images; for known ones every image is welcome."""
    fitted = Counter(
        image.label.label for image, out in zip(read, held_out, strict=True) if not out
    )
    enough = [
        image.label.label in known or fitted[image.label.label] >= FEWEST_OF_A_CLASS
        for image in read
    ]
    skipped = [
        Skipped(
            label=image.label,
            reason=f"class {image.label.label} has {counted(fitted[image.label.label], 'image')} to learn "
            f"from, it takes {FEWEST_OF_A_CLASS}",
        )
        for image, good in zip(read, enough, strict=True)
        if not good
    ]
    kept = [index for index, good in enumerate(enough) if good]
    return [read[i] for i in kept], [groups[i] for i in kept], held_out[kept], skipped
