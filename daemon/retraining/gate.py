"""The gate: whether a candidate may serve, from what its run measured of it and of the current model.

A pure function. What speaks against a candidate ends in `reject`; what is only not known, or not known
well enough, in `needs_a_person`; both say why, and what is missing.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Final

from config.text import counted, percent, told_apart
from models.binomial import interval, upper_bound
from models.figures import ClassFigures, ModelFigures, RunFigures, total
from models.taxonomy import KNOWN_DEFECTS

_ENOUGH: Final = 30
"""Images of a class from which on it is judged by itself; smaller classes are pooled."""


_UNTRUE: Final = "its confidences do not mean what they say"
_NOTHING_WORSE: Final = "nothing that is measured is worse beyond the margins"


class Outcome(StrEnum):
    PROMOTE = "promote"
    REJECT = "reject"
    NEEDS_A_PERSON = "needs_a_person"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How much worse a candidate may be. Rates are 0..1.

    Attributes:
        max_missed_defect_rate: of the policy.
        max_extra_missed: by how much more of the defects may pass than with the current model.
        max_reference_loss: of the six defects' reference images, rightly named by the current model.
        max_calibration_error: expected calibration error; beyond it a person is asked, and beyond the
            current model's, on the same images, it is rejected.
        max_times_slower: in milliseconds an image; beyond it a person is asked.
        max_loss: of the images of one class, held out or reference, and of all held-out ones, which the
            current model names rightly, calls defects or lets pass as sound, for a candidate that is
            better elsewhere; two images always. Beyond it a person is asked.
        max_doubted: of a defect's labelled images, the share that may have a likely wrong label.
        min_held_out: held-out images of this line, defects and others together.
        min_class_images: labelled images of each of this line's defects.
    """

    max_missed_defect_rate: float
    max_extra_missed: float = 0.01
    max_reference_loss: float = 0.005
    max_calibration_error: float = 0.10
    max_times_slower: float = 2.0
    max_loss: float = 0.05
    max_doubted: float = 0.15
    min_held_out: int = 20
    min_class_images: int = 10


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What the gate says, in words for the person who reads it in the morning."""

    outcome: Outcome
    reasons: tuple[str, ...]

    @property
    def reason(self) -> str:
        return "; ".join(self.reasons)


def decide(figures: RunFigures, rules: Rules) -> Ruling:
    """Whether the candidate of a run may take the current model's place."""
    against = [
        *_broken(figures, rules),
        *_forgotten(figures, rules),
        *_certainly_missed(figures, rules),
    ]
    gains = list(_gains(figures))
    if not gains and total(figures.candidate.held_out.values()).images >= rules.min_held_out:
        against.append(
            "it is no better: it knows no new class, sends no fewer sound images to review and "
            "names no more images rightly"
        )
    contradictions = list(_doubted(figures, rules))
    if against:  # which wrong labels may be the cause of, and right ones the remedy
        return Ruling(outcome=Outcome.REJECT, reasons=(*against, *contradictions))
    doubts = [
        *_too_little(figures, rules),
        *_untrue(figures, rules),
        *_slower(figures, rules),
        *_perhaps_missed(figures, rules),
        *_worse_somewhere(figures, rules),
        *_not_shown(figures),
        *contradictions,
    ]
    if doubts:
        return Ruling(outcome=Outcome.NEEDS_A_PERSON, reasons=tuple(doubts))
    return Ruling(outcome=Outcome.PROMOTE, reasons=(*gains, _NOTHING_WORSE))


def _broken(figures: RunFigures, rules: Rules) -> Iterator[str]:
    candidate, current = figures.candidate, figures.current
    if not candidate.finite:
        yield "some of its outputs are no numbers"
    if not math.isfinite(candidate.milliseconds_per_image):
        yield "how long it takes for an image is not known"
    error = candidate.calibration_error
    limit = max(_true_enough(candidate, rules), current.calibration_error or 0.0)
    if error is not None and not error <= limit:
        yield "{}: calibration error {}, at most {}".format(_UNTRUE, *told_apart(error, limit))


def _untrue(figures: RunFigures, rules: Rules) -> Iterator[str]:
    """Confidences that are off, and the current model's as far: thresholds do not rest on them."""
    candidate, current = figures.candidate, figures.current
    error, limit = candidate.calibration_error, _true_enough(candidate, rules)
    if error is not None and error > limit:
        found, enough = told_apart(error, limit)
        yield (
            f"{_UNTRUE}: calibration error {found}, {enough} would do, the current model's "
            f"is {current.calibration_error or 0.0:.3f}"
        )


def _true_enough(candidate: ModelFigures, rules: Rules) -> float:
    # A few dozen images show some error of true confidences too: that is not held against it.
    return max(rules.max_calibration_error, candidate.calibration_chance)


def _slower(figures: RunFigures, rules: Rules) -> Iterator[str]:
    """Whether the line has the time for it is known to its people: many images a second or few."""
    candidate, current = figures.candidate, figures.current
    takes, took = candidate.milliseconds_per_image, current.milliseconds_per_image
    if takes > rules.max_times_slower * took:
        forms = "" if candidate.form == current.form else f" ({candidate.form}, {current.form})"
        yield (
            f"it takes {takes:.1f} ms of the processor an image, the current model {took:.1f} ms"
            f"{forms}: promote it if the line has the time"
        )


def _forgotten(figures: RunFigures, rules: Rules) -> Iterator[str]:
    """Classes, and the six defects, that the current model knows better."""
    candidate, current = figures.candidate, figures.current
    lost = [name for name in current.classes if name not in candidate.classes]
    if lost:
        yield f"it no longer knows {', '.join(lost)}"
    before, after = total(current.reference.values()), total(candidate.reference.values())
    if after.images == 0 or before.images != after.images:
        return
    images = counted(after.images, "reference image")
    loss = before.right - after.right
    # One image of a small reference is no evidence.
    if loss > max(1.0, rules.max_reference_loss * after.images):
        yield (
            f"of {images} of the six defects it names {loss} fewer rightly than the current model"
        )
    missed = after.passed - before.passed
    if missed > rules.max_extra_missed * after.images:
        yield f"of {images} of the six defects it lets {missed} more pass than the current model"


@dataclass(frozen=True, kw_only=True)
class _Missed:
    """Defects that were let through: of `images`, `passed`; `before` is the current model's share.

    Attributes:
        noun: one of the images, in words.
        of: what they show.
    """

    noun: str
    of: str
    images: int
    passed: int
    before: float

    def allowed(self, rules: Rules) -> float:
        return self.before + rules.max_extra_missed

    def words(self, rules: Rules) -> str:
        return (
            f"of {counted(self.images, self.noun)} of {self.of} it lets {self.passed} pass, the current model "
            f"{percent(self.before, 1)}; {percent(self.allowed(rules), 1)} would be allowed"
        )


def _missed(figures: RunFigures) -> Iterator[_Missed]:
    """Defects of this line: a class by itself where it has enough images, the others together.

    Then the same of the cross-validation, in which every labelled image was judged: it sees what the
    held-out images are too few to show.
    """
    before = figures.current.held_out
    for rows, noun, where in (
        (figures.candidate.held_out, "held-out image", ""),
        (figures.candidate.crossvalidated, "image", " in cross-validation"),
    ):
        defects = {name: row for name, row in rows.items() if _is_defect(figures, name)}
        large = {name for name, row in defects.items() if row.images >= _ENOUGH}
        for name in sorted(large):
            row = defects[name]
            yield _Missed(
                noun=noun,
                of=name + where,
                images=row.images,
                passed=row.passed,
                before=_share_passed([before[name]] if name in before else []),
            )
        small = {name: row for name, row in defects.items() if name not in large}
        pooled = total(small.values())
        if pooled.images:
            yield _Missed(
                noun=noun,
                of=", ".join(sorted(small)) + where,
                images=pooled.images,
                passed=pooled.passed,
                before=_share_passed(before[name] for name in small if name in before),
            )


def _beyond(figures: RunFigures, rules: Rules) -> Iterator[_Missed]:
    """Where more defects pass than is allowed; nowhere, if the policy's own bound is kept."""
    held_out = total(
        row for name, row in figures.candidate.held_out.items() if _is_defect(figures, name)
    )
    images, passed = held_out.images, held_out.passed
    groups = [group for group in _missed(figures) if group.passed > 0]
    keeps_policy = images and upper_bound(passed, images) <= rules.max_missed_defect_rate
    for group in groups:
        if group.passed <= group.allowed(rules) * group.images:
            continue
        if keeps_policy and group.passed <= rules.max_missed_defect_rate * group.images:
            continue
        yield group


def _certainly_missed(figures: RunFigures, rules: Rules) -> Iterator[str]:
    for group in _beyond(figures, rules):
        low, _ = interval(group.passed, group.images)
        if low > group.allowed(rules):
            yield group.words(rules)


def _perhaps_missed(figures: RunFigures, rules: Rules) -> Iterator[str]:
    for group in _beyond(figures, rules):
        low, _ = interval(group.passed, group.images)
        if low <= group.allowed(rules):
            yield f"{group.words(rules)}; that may be chance: look at them, or label more"


def _too_little(figures: RunFigures, rules: Rules) -> Iterator[str]:
    held_out = total(figures.candidate.held_out.values()).images
    if held_out < rules.min_held_out:
        yield (
            f"its run held out only {counted(held_out, 'labelled image')}, {rules.min_held_out} are needed: "
            "label more of what the cameras see"
        )
    if not total(figures.candidate.reference.values()).images:
        yield "there are no reference images of the six defects: whether it forgot them is not known"
    for name, images in _labelled_defects(figures).items():
        if images < rules.min_class_images:
            yield (
                f"{name} has {counted(images, 'labelled image')} to judge it by, {rules.min_class_images} "
                f"are needed: label {rules.min_class_images - images} more"
            )
    if figures.candidate.pass_threshold is not None and not _labelled_defects(figures):
        yield "it may let images pass, and no labelled defect of this line shows what it would miss"


def _worse_somewhere(figures: RunFigures, rules: Rules) -> Iterator[str]:
    """What a gain elsewhere would hide."""
    candidate, current = figures.candidate, figures.current
    for before, after, noun in (
        (current.held_out, candidate.held_out, "held-out image"),
        (current.reference, candidate.reference, "reference image"),
    ):
        for name in sorted(before.keys() & after.keys()):
            yield from _fewer(before[name], after[name], noun, f" of {name}", rules)
            if _is_defect(figures, name) and name in current.classes:
                yield from _believed_less(before[name], after[name], noun, f" of {name}", rules)
    all_before, all_after = total(current.held_out.values()), total(candidate.held_out.values())
    yield from _fewer(all_before, all_after, "held-out image", "", rules)
    sound = total(_normal(figures, current)), total(_normal(figures, candidate))
    loss = sound[0].passed - sound[1].passed
    if loss > _margin(sound[1].images, rules):
        yield (
            f"of {counted(sound[1].images, 'held-out sound image')} it sends {loss} to review that the current "
            "model lets pass"
        )


def _fewer(
    before: ClassFigures, after: ClassFigures, noun: str, of: str, rules: Rules
) -> Iterator[str]:
    loss = before.right - after.right
    if before.images == after.images and loss > _margin(after.images, rules):
        yield f"of {counted(after.images, noun)}{of} it names {loss} fewer rightly than the current model"


def _believed_less(
    before: ClassFigures, after: ClassFigures, noun: str, of: str, rules: Rules
) -> Iterator[str]:
    """Named as rightly as before, and not believed: defect rates and alarms would lose that defect."""
    more = after.unsure - before.unsure
    if before.images == after.images and more > _margin(after.images, rules):
        yield (
            f"of {counted(after.images, noun)}{of} it leaves {more} more unsure than the current model, which are "
            "then in no defect rate"
        )


def _margin(images: int, rules: Rules) -> float:
    return max(2.0, rules.max_loss * images)


def _not_shown(figures: RunFigures) -> Iterator[str]:
    """Classes that the current model knows and of which the run had no image."""
    candidate = figures.candidate
    shown = {
        name
        for rows in (candidate.held_out, candidate.crossvalidated, candidate.reference)
        for name, row in rows.items()
        if row.images
    }
    shown.update(figures.fitted)
    if not candidate.reference:  # which is told already
        shown.update(KNOWN_DEFECTS)
    for name in figures.current.classes:
        if name not in shown:
            yield (
                f"there is no labelled image of {name} any more: whether it still knows {name} is not "
                "known; put some back, or promote it if the line has no such images"
            )


def _doubted(figures: RunFigures, rules: Rules) -> Iterator[str]:
    """Classes whose labels contradict each other: what was learned from them may be wrong."""
    for name in sorted({*figures.doubted, *(each.suggested for each in figures.suspects)}):
        if not _is_defect(figures, name):
            continue
        suspects = [
            each for each in figures.suspects if name == each.suggested and each.label != name
        ]
        share = figures.doubted.get(name, 0.0)
        if not figures.doubted and len(suspects) >= 3:
            share = len(suspects) / (len(suspects) + figures.fitted.get(name, 0))
        if share > rules.max_doubted:
            wrong = sorted({each.label for each in suspects})
            yield (
                f"{percent(share, 0)} of what looks like {name} carries another label"
                + (f" ({', '.join(wrong)})" if wrong else "")
                + ": look at them (`millwatch review suspects`) and retrain"
            )


def _gains(figures: RunFigures) -> Iterator[str]:
    candidate, current = figures.candidate, figures.current
    added = [name for name in candidate.classes if name not in current.classes]
    if added:
        yield f"it also knows {', '.join(added)}"
    sound = total(_normal(figures, candidate))
    fewer = sound.passed - total(_normal(figures, current)).passed
    if fewer > 0:
        images = counted(sound.images, "held-out sound image")
        yield f"of {images} it sends {fewer} fewer to review"
    all_after = total(candidate.held_out.values())
    more = all_after.right - total(current.held_out.values()).right
    if more > 0:
        yield f"of {counted(all_after.images, 'held-out image')} it names {more} more rightly"


def _labelled_defects(figures: RunFigures) -> dict[str, int]:
    """Of this line's defects, images that were judged by a network that had not seen them."""
    held_out, crossed = figures.candidate.held_out, figures.candidate.crossvalidated
    counts: dict[str, int] = {}
    for name, row in chain(held_out.items(), crossed.items()):
        if _is_defect(figures, name) and row.images:
            counts[name] = max(counts.get(name, 0), row.images)
    return counts


def _is_defect(figures: RunFigures, name: str) -> bool:
    return name not in figures.normal_classes


def _normal(figures: RunFigures, model: ModelFigures) -> list[ClassFigures]:
    return [row for name, row in model.held_out.items() if not _is_defect(figures, name)]


def _share_passed(rows: Iterable[ClassFigures]) -> float:
    of = total(rows)
    return of.passed / of.images if of.images else 0.0
