"""OpenVINO on the processor: no torch.

Requests of a few images each: a batch is spread over the streams, so that no thread waits for another
within an image, and memory does not grow with the batch. Measured on two cores: as fast as batches of
16 a stream, with 190 MB resident instead of 350. There are two requests a stream, so that it has the
next one while Python takes the outputs of the last; whoever calls meanwhile gets those that are free.
An image that comes alone, with nothing before it for a while, is shared out over all cores instead, by a
graph that is compiled with one stream for the first such image (30 MB more): 12 ms against 19 where there
are two cores and no VNNI. On a busy line that one is slower: its threads wait for each other.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import CheckpointError, load_metadata, load_weights
from models.runtimes.engine import openvino
from models.runtimes.openvino_graph import (
    FEATURES,
    LOGITS,
    MAPS,
    build_graph,
    head_of,
    tells_domains,
    top_of,
    with_maps,
)
from models.runtimes.protocol import Outputs, RuntimeUnavailableError

Form = Literal["fp32", "int8"]

_IMAGES_A_REQUEST: Final = 8
_REQUESTS_A_STREAM: Final = 2
_ALONE_SECONDS: Final = 0.05
"""Without another image before, as on a line with fewer than twenty a second."""
_SETTINGS: Final = {
    # Else OpenVINO computes in bf16 where the processor can: other numbers than were trained.
    "INFERENCE_PRECISION_HINT": "f32",
}


class OpenVinoRuntime:
    """A graph compiled for this processor.

    Once more when an image alone, the feature map or what lies above the last block is asked for.
    Safe to call from several threads: what the one leaves idle at its end, the next one takes.
    """

    def __init__(self, graph: Any, *, form: Form) -> None:
        """`graph` is kept: what is compiled later is of the same weights, whatever the folder has then.

        Raises:
            RuntimeUnavailableError: when OpenVINO is missing or refuses the graph.
        """
        self._graph = graph
        self._form = form
        self._lock = threading.Lock()
        self._plain = _Compiled(graph, (LOGITS, FEATURES))
        self._others: dict[str, _Compiled] = {}
        self._asked_at = -math.inf
        self._tells_domains = tells_domains(graph)
        self.head = head_of(graph)

    @property
    def name(self) -> str:
        return f"openvino {self._form} on cpu"

    def infer(self, images: NDArray[np.uint8], *, with_maps: bool = False) -> Outputs:
        if with_maps:
            logits, features, maps = self._other("maps", self._mapping).run(images)
            return Outputs(logits=logits, features=features, maps=maps)
        before, self._asked_at = self._asked_at, time.monotonic()
        rested = self._asked_at - before > _ALONE_SECONDS
        alone = rested and len(images) == 1 and self._plain.streams > 1
        compiled = self._other("alone", self._alone) if alone else self._plain
        logits, features = compiled.run(images)
        return Outputs(logits=logits, features=features)

    def infer_above(
        self, middle: NDArray[np.float32], texture: NDArray[np.float32] | None = None
    ) -> Outputs:
        """The outputs for activations `(N, 512, h, w)` below the last block, in the same form."""
        logits, features = self._other("top", self._top).run(middle, *self._looks(texture))
        return Outputs(logits=logits, features=features)

    def _looks(self, texture: NDArray[np.float32] | None) -> list[NDArray[np.float32]]:
        """What the graph above the last block takes besides activations."""
        if not self._tells_domains:
            return []
        if texture is None:
            raise ValueError("domains are told apart by textures, and none are given")
        return [texture]

    def _other(self, name: str, make: Callable[[], "_Compiled"]) -> "_Compiled":
        """What is made when it is first asked for."""
        with self._lock:
            if name not in self._others:
                self._others[name] = make()
            return self._others[name]

    def _alone(self) -> "_Compiled":
        try:
            return _Compiled(self._graph, (LOGITS, FEATURES), share_cores=True)
        except RuntimeUnavailableError:  # as when memory is short: slower, and served
            return self._plain

    def _mapping(self) -> "_Compiled":
        return _Compiled(with_maps(self._graph), (LOGITS, FEATURES, MAPS))

    def _top(self) -> "_Compiled":
        return _Compiled(top_of(self._graph), (LOGITS, FEATURES))


class _Compiled:
    """A compiled graph with a few requests for each stream.

    Attributes:
        streams: how many requests are worked on at a time; one, over all cores, if they are shared.
    """

    def __init__(self, graph: Any, outputs: tuple[str, ...], *, share_cores: bool = False) -> None:
        settings = _SETTINGS | {"PERFORMANCE_HINT": "LATENCY" if share_cores else "THROUGHPUT"}
        try:
            compiled = openvino().Core().compile_model(graph, "CPU", settings)
            self.streams = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
            self._free: SimpleQueue[Any] = SimpleQueue()
            for _ in range(_REQUESTS_A_STREAM * self.streams):
                self._free.put(compiled.create_infer_request())
        except RuntimeError as error:
            raise RuntimeUnavailableError(
                f"OpenVINO cannot run the network on this processor ({error}); "
                'set model.runtime to "torch"'
            ) from error
        self._outputs = outputs

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
        """The outputs, in the order of their names, for inputs of N rows each; N at least 1."""
        count = len(inputs[0])
        size = min(_IMAGES_A_REQUEST, -(-count // self.streams))
        # Contiguous, and not read-only as pixels fresh from a decoder are: shared without a copy.
        whole = [np.require(each, requirements=["C", "W"]) for each in inputs]
        tensor = openvino().Tensor
        running: deque[Any] = deque()
        done: list[list[NDArray[np.float32]]] = []
        try:
            for first in range(0, count, size):
                try:
                    request = self._free.get_nowait()
                except Empty:
                    # One's own first: two callers that wait for each other's would wait for ever.
                    if running:
                        done.append(self._take(running.popleft()))
                    request = self._free.get()
                running.append(request)
                # Not handed to `start_async`: what it makes of them takes 15 us an image more.
                for index, each in enumerate(whole):
                    rows = tensor(each[first : first + size], shared_memory=True)
                    request.set_input_tensor(index, rows)
                request.start_async()
            while running:
                done.append(self._take(running.popleft()))
        finally:
            for request in running:  # after an error; the others may go on
                with suppress(RuntimeError):
                    request.wait()
                self._free.put(request)
        return [np.concatenate(each) for each in zip(*done, strict=True)]

    def _take(self, request: Any) -> list[NDArray[np.float32]]:
        """The outputs of a request, copied: whoever takes it next uses its memory again."""
        try:
            request.wait()
            return [request.get_tensor(name).data.copy() for name in self._outputs]
        finally:
            self._free.put(request)


def load_fp32(folder: Path) -> OpenVinoRuntime:
    """The network of a model folder as it was trained.

    Raises:
        CheckpointError: for a bad model folder.
        RuntimeUnavailableError: when OpenVINO cannot run here.
    """
    known = load_metadata(folder)
    openvino()  # before megabytes are read

    weights = load_weights(folder, known)
    try:
        graph = build_graph(weights, input_size=known.input_size, normalisation=known.normalisation)
    except (KeyError, RuntimeError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"the weights in {folder} do not fit a ResNet18 ({error}); restore the folder or retrain"
        ) from error
    runtime = OpenVinoRuntime(graph, form="fp32")
    if len(runtime.head) != len(known.classes):
        raise CheckpointError(
            f"the weights in {folder} are of {len(runtime.head)} classes, the model of "
            f"{len(known.classes)}; restore the folder or retrain"
        )
    return runtime


def load_int8(path: Path) -> OpenVinoRuntime:
    """A graph that `training.model_folder.export` wrote, `path` its .xml, the .bin beside it.

    Raises:
        RuntimeUnavailableError: when OpenVINO cannot run here, or cannot read the file.
    """
    core = openvino().Core()
    # Else constants are used where they lie in the file: to copy another model over it, as an upgrade
    # may, would change what a running daemon answers, or end it by a bus error.
    core.set_property({"ENABLE_MMAP": False})
    try:
        graph = core.read_model(path)
    except RuntimeError as error:
        raise RuntimeUnavailableError(
            f"OpenVINO cannot read {path} ({error}); export the model again with this version"
        ) from error
    return OpenVinoRuntime(graph, form="int8")
