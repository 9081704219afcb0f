from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filesystems import filesystem
from fits import AVERAGED, CONSTANT, TINY, drawn, train, upper_halves

from models.network import stored_weights
from training.data.dataset import Dataset
from training.fitting.fit import Epoch
from training.fitting.recipe import Recipe
from training.fitting.resuming import ResumeError, Saved


@pytest.fixture(scope="module")
def few() -> Dataset:
    """One image more than a batch."""
    return drawn(range(3))


@pytest.fixture(scope="module")
def select_part() -> Dataset:
    return drawn(range(100, 104))


class InterruptedRunError(Exception):
    """Like a power cut between two epochs."""


def interrupt_after(number: int) -> Callable[[Epoch], None]:
    def cut(epoch: Epoch) -> None:
        if epoch.number == number:
            raise InterruptedRunError

    return cut


@pytest.mark.parametrize(
    ("recipe", "with_boxes"),
    [(TINY, True), (AVERAGED, False), (CONSTANT, False)],
    ids=["annealed, with boxes", "all steps averaged", "constant, by labels alone"],
)
def test_a_training_that_was_interrupted_ends_as_if_it_had_not_been(
    tmp_path: Path, few: Dataset, select_part: Dataset, recipe: Recipe, with_boxes: bool
) -> None:
    boxed = upper_halves(few) if with_boxes else None
    recipe = replace(recipe, epochs=2)
    whole = train(few, select_part, recipe, boxed=boxed)
    saved = Saved(file=tmp_path / "progress", run="this one", seconds_apart=0)
    seen: list[Epoch] = []
    with pytest.raises(InterruptedRunError):
        train(few, select_part, recipe, boxed=boxed, saved=saved, on_epoch=interrupt_after(1))
    result = train(few, select_part, recipe, boxed=boxed, saved=saved, seen=seen)
    assert [epoch.number for epoch in seen] == [2]
    assert result.history == whole.history
    ended, expected = stored_weights(result.network), stored_weights(whole.network)
    assert all(np.array_equal(ended[key], expected[key]) for key in expected)


def test_progress_is_kept_after_the_first_epoch_and_the_last_and_else_not_too_often(
    tmp_path: Path, few: Dataset, select_part: Dataset
) -> None:
    """A fast machine would write a third of a gigabyte for each second of training."""
    file, kept = tmp_path / "progress", list[int]()

    def look(epoch: Epoch) -> None:
        if file.exists():
            kept.append(epoch.number)
            file.unlink()

    recipe = replace(TINY, epochs=4)
    train(few, select_part, recipe, saved=Saved(file=file, run="this one"), on_epoch=look)
    assert kept == [1, 4]


def test_the_progress_of_another_run_is_not_gone_on_with(
    tmp_path: Path, few: Dataset, select_part: Dataset
) -> None:
    file = tmp_path / "progress"
    short = replace(TINY, epochs=1)
    train(few, select_part, short, saved=Saved(file=file, run="one"))
    with pytest.raises(ResumeError, match="of an interrupted training with other images"):
        train(few, select_part, short, saved=Saved(file=file, run="another"))


def test_damaged_progress_is_refused_in_words_that_say_what_to_do(
    tmp_path: Path, few: Dataset, select_part: Dataset
) -> None:
    (tmp_path / "progress").write_bytes(b"half a fi")
    with pytest.raises(ResumeError, match="delete it to begin anew"):
        train(few, select_part, saved=Saved(file=tmp_path / "progress", run="this one"))


def test_a_full_disk_ends_a_training_in_words_and_is_not_made_fuller(
    tmp_path: Path, few: Dataset, select_part: Dataset
) -> None:
    disk = tmp_path / "disk"
    with filesystem(disk, size="1m"):
        with pytest.raises(ResumeError, match="make room there and repeat the command"):
            train(few, select_part, saved=Saved(file=disk / "progress", run="this one"))
        assert list(disk.iterdir()) == []


def test_the_weights_after_every_step_are_averaged_alike(
    tmp_path: Path, few: Dataset, select_part: Dataset
) -> None:
    file = tmp_path / "progress"
    after_step: list[dict[str, torch.Tensor]] = []

    def look(_: Epoch) -> None:
        after_step.append(torch.load(file, weights_only=True)["network"])

    recipe = replace(AVERAGED, epochs=3)
    saved = Saved(file=file, run="this one", seconds_apart=0.0)
    result = train(few, select_part, recipe, saved=saved, on_epoch=look)
    assert [epoch.kept for epoch in result.history] == [False, False, True]
    kept = result.network.state_dict()
    for name in ("backbone.bn1.weight", "backbone.bn1.running_mean", "backbone.fc.bias"):
        steps = torch.stack([state[name] for state in after_step])
        assert not torch.equal(steps[0], steps[2])
        torch.testing.assert_close(kept[name], steps.mean(dim=0))
