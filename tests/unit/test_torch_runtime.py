"""What torch alone does; what every runtime promises is in test_runtimes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.network import Activations, SurfaceNetwork, load_network
from models.runtimes.choosing import Chosen, first_that_runs
from models.runtimes.cuda_graphs import Graphs
from models.runtimes.protocol import RuntimeUnavailableError, lacks_memory
from models.runtimes.torch_runtime import TorchRuntime, load

HAS_GPU = torch.cuda.is_available()


@pytest.fixture(scope="module")
def runtime(model: Path) -> TorchRuntime:
    return load(model, device="cpu")


class SmallMemory(SurfaceNetwork):
    """A network on a GPU whose memory holds so many pictures and no more."""

    room = 0

    def __init__(self, room: int) -> None:
        super().__init__(6)
        self.room = room
        self.batches: list[int] = []

    def activations(self, images: Tensor) -> Activations:
        if len(images) > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        self.batches.append(len(images))
        return super().activations(images)


@pytest.mark.fault(17)
@pytest.mark.parametrize(("room", "batches"), [(7, [7]), (4, [3, 4]), (3, [3, 2, 2]), (1, [1] * 7)])
@pytest.mark.parametrize("with_maps", [False, True])
def test_a_batch_that_does_not_fit_is_halved_and_comes_back_whole_and_in_order(
    pictures: NDArray[np.uint8], room: int, batches: list[int], with_maps: bool
) -> None:
    torch.manual_seed(0)
    small = SmallMemory(room)
    outputs = TorchRuntime(small, device="cpu").infer(pictures[:7], with_maps=with_maps)
    assert small.batches == batches
    small.room = 7
    whole = TorchRuntime(small, device="cpu").infer(pictures[:7], with_maps=with_maps)
    np.testing.assert_allclose(outputs.logits, whole.logits, atol=1e-3)
    np.testing.assert_allclose(outputs.features, whole.features, atol=1e-3)
    assert (outputs.maps is None) == (not with_maps)
    if outputs.maps is not None and whole.maps is not None:
        np.testing.assert_allclose(outputs.maps, whole.maps, atol=1e-3)


def test_one_picture_that_does_not_fit_by_itself_is_an_error(pictures: NDArray[np.uint8]) -> None:
    with pytest.raises(torch.cuda.OutOfMemoryError):
        TorchRuntime(SmallMemory(0), device="cpu").infer(pictures[:4])


class NoMemory(SurfaceNetwork):
    """A network on its way to a GPU whose memory is full."""

    def to(self, *device: Any, **layout: Any) -> Self:
        if device:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return super().to(**layout)


def test_a_gpu_without_memory_for_the_network_cannot_be_used_and_the_next_choice_serves(
    runtime: TorchRuntime,
) -> None:
    def full() -> Chosen:
        return Chosen(runtime=TorchRuntime(NoMemory(6)))

    chosen = first_that_runs([full, lambda: Chosen(runtime=runtime, remarks=("slow",))])
    assert chosen.runtime is runtime
    assert "CUDA out of memory" in chosen.remarks[0]
    assert chosen.remarks[1:] == ("slow",)
    with pytest.raises(RuntimeUnavailableError, match="CUDA out of memory"):
        first_that_runs([full])


@pytest.mark.parametrize(
    ("asking", "lacking"),
    [
        (lambda: torch.empty(1 << 60), True),
        (lambda: np.empty(1 << 50), True),
        (lambda: torch.zeros(2) + torch.zeros(3), False),
    ],
)
def test_too_little_memory_is_told_from_other_errors(
    asking: Callable[[], object], lacking: bool
) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as ended:
        asking()
    assert lacks_memory(ended.value) is lacking


@pytest.fixture(scope="module")
def graphs(model: Path) -> Graphs:
    network, _ = load_network(model)
    return Graphs(network.eval(), torch.device("cpu"))


@pytest.mark.parametrize("count", [3, 8, 33, 129, 1])
def test_a_batch_filled_up_to_the_next_size_gives_what_the_plain_network_does(
    graphs: Graphs, runtime: TorchRuntime, pictures: NDArray[np.uint8], count: int
) -> None:
    batch = np.resize(pictures, (count, 64, 64))
    logits, features = graphs.run(batch)
    expected = runtime.infer(batch)
    np.testing.assert_allclose(logits, expected.logits, atol=1e-3)
    np.testing.assert_allclose(features, expected.features, atol=1e-3)


def test_graphs_that_compute_something_else_do_not_agree(
    graphs: Graphs, runtime: TorchRuntime
) -> None:
    def plain(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        outputs = runtime.infer(images)
        return outputs.logits, outputs.features

    def other(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        logits, features = plain(images)
        return np.where(logits > 0, logits, np.float32(0)), features

    def no_number(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        logits, features = plain(images)
        return logits * np.float32("nan"), features

    assert graphs.agrees(64, plain)
    assert not graphs.agrees(64, other)
    assert not graphs.agrees(64, no_number)


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_refused_in_words_that_say_what_to_do(model: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match="nvidia-smi"):
        load(model, device="cuda")


@pytest.mark.skipif(not HAS_GPU, reason="this machine has no GPU")
def test_the_gpu_agrees_with_the_processor(
    model: Path, runtime: TorchRuntime, pictures: NDArray[np.uint8]
) -> None:
    gpu = load(model, device="cuda")
    assert gpu.name == "torch on cuda"
    here, there = runtime.infer(pictures), gpu.infer(pictures)
    np.testing.assert_allclose(there.logits, here.logits, atol=0.05)
    assert (there.logits.argmax(axis=1) == here.logits.argmax(axis=1)).all()
