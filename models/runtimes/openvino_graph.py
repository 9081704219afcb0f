"""The network of `models.network` as an OpenVINO graph, straight from a model folder's weights.

Built, not converted: it needs no torch, and a graph made from the weights file cannot be of other
weights. Batch norms are folded into the convolutions before them.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import Normalisation
from models.runtimes.engine import openvino
from models.shrinking import shrinking

LOGITS: Final = "logits"
FEATURES: Final = "features"
TEXTURE: Final = "texture"
MAPS: Final = "maps"
"""Name of the node of the last feature map, which is an output only where it is asked for."""
LAST_BLOCK: Final = "layer4.1.conv1"
"""The first convolution above `models.network.SurfaceNetwork.middle_and_texture`."""
NORMALISE: Final = "normalise"
FIRST_CONVOLUTION: Final = "conv1"
POOL: Final = "pool"
LINEAR: Final = "fc"
HEAD: Final = "fc.weight"
LINE: Final = "line."
"""Before the names of a line's own network, as in the weights."""
LINE_LOGITS: Final = f"{LINE}logits"
JOIN: Final = "join"
SUM: Final = "sum"
"""Ends the name of each block's last addition."""
UNSEEN: Final = "line_unseen"
"""Under which a graph tells what a line's own network is taken to say of an image it cannot see."""

DOMAIN: Final = "domain."
"""Before the names of a domain classifier, as in the weights."""
_ODDS: Final = f"{DOMAIN}odds"

_BATCH_NORM_EPSILON: Final = 1e-5
"""That of torch.nn.BatchNorm2d."""
_MIN_CONTRAST: Final = 8.0
_LEAST: Final = 1e-12
_FLOOR: Final = -80.0
_NEVER: Final = -1e4
_IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION: Final = (0.229, 0.224, 0.225)
"""Those of models.network, which needs torch; a test holds one network against the other."""

Weights = Mapping[str, NDArray[Any]]


def build_graph(weights: Weights, *, input_size: int, normalisation: Normalisation) -> Any:
    """An `openvino.Model`: uint8 grey `(N, input_size, input_size)` to `logits`, `features`.

    Features are the pooled last feature map, and the texture behind it.

    Args:
        weights: from `models.checkpoint.load_weights`.

    Raises:
        KeyError: when a weight of a ResNet18 is missing.
        RuntimeError: when one is of another shape.
    """
    ov = openvino()
    ops = ov.opset13
    weights = {key.removeprefix("backbone."): value for key, value in weights.items()}
    images = ops.parameter([-1, input_size, input_size], np.uint8, name="images")
    grey = ops.convert(images, "f32")
    seen = _shrunk(grey, input_size, int(weights.get(f"{LINE}smaller", input_size)))
    first_stage = _first_stage(_normalise(seen, normalisation), weights, "")
    second_stage = _stage(first_stage, weights, "layer2")
    x = _stage(_stage(second_stage, weights, "layer3"), weights, "layer4")
    x.get_node().set_friendly_name(MAPS)
    pooled = ops.reduce_mean(x, np.array([2, 3], np.int64), keep_dims=False, name=POOL)
    features = ops.concat([pooled, _texture(second_stage)], axis=1, name=FEATURES)
    head = ops.constant(weights["fc.weight"].astype(np.float32), name=HEAD)
    bias = ops.constant(weights["fc.bias"].astype(np.float32).reshape(1, -1))
    logits = ops.add(ops.matmul(pooled, head, False, True, name=LINEAR), bias)
    if f"{DOMAIN}weight" in weights:
        logits = _of_domains(logits, features, weights)
    if f"{LINE}place" in weights:
        logits = _joined(logits, _line_logits(grey, weights), weights)
    results = []
    for name, node in ((LOGITS, logits), (FEATURES, features)):
        node.output(0).set_names({name})
        results.append(ops.result(node))
    model = ov.Model(results, [images], "resnet18")
    remember_unseen(model, weights)
    return model


def remember_unseen(graph: Any, weights: Weights) -> None:
    """Write into a graph what `top_of` needs and no node holds; for one made from another."""
    if (unseen := weights.get(f"{LINE}unseen")) is not None:
        graph.set_rt_info(",".join(map(str, unseen.tolist())), UNSEEN)


def with_maps(graph: Any) -> Any:
    """A copy of the graph with the last feature map, `(N, 512, h, w)`, as its third output."""
    copy = graph.clone()
    (node,) = [node for node in copy.get_ops() if node.get_friendly_name() == MAPS]
    node.output(0).set_names({MAPS})
    copy.add_outputs([node.output(0)])
    return copy


def top_of(graph: Any) -> Any:
    """What lies above `models.network.SurfaceNetwork.middle_and_texture`, in whatever form the graph is.

    From its activations, float32 `(N, 512, h, w)`, to `logits` and `features`, the pooled ones alone;
    where it tells domains apart, from textures `(N, 256)` as well.
    """
    ov = openvino()
    copy = graph.clone()
    (last,) = [node for node in copy.get_ops() if node.get_friendly_name() == LAST_BLOCK]
    node = last.input_value(0).get_node()
    while node.get_type_name() != "Relu":  # INT8 rounds in between
        node = node.input_value(0).get_node()
    maps = ov.opset13.parameter(node.get_output_partial_shape(0), np.float32, name="maps")
    node.output(0).replace(maps.output(0))
    inputs = [maps]
    if tells_domains(graph):
        (node,) = [node for node in copy.get_ops() if node.get_friendly_name() == TEXTURE]
        shape = node.get_output_partial_shape(0)
        inputs.append(ov.opset13.parameter(shape, np.float32, name=f"{TEXTURE}.given"))
        node.output(0).replace(inputs[1].output(0))
    for line in [node for node in copy.get_ops() if node.get_friendly_name() == LINE_LOGITS]:
        values = [float(each) for each in str(graph.get_rt_info(UNSEEN).astype(str)).split(",")]
        line.output(0).replace(ov.opset13.constant(np.array([values], np.float32)).output(0))
    results = [each for each in copy.get_results() if LOGITS in each.output(0).get_names()]
    (pooled,) = [node for node in copy.get_ops() if node.get_friendly_name() == POOL]
    copy.output(FEATURES).set_names(set())
    pooled.output(0).set_names({FEATURES})
    return ov.Model([*results, ov.opset13.result(pooled)], inputs, "top")


def tells_domains(graph: Any) -> bool:
    """Whether a domain classifier is in it."""
    return any(node.get_friendly_name() == _ODDS for node in graph.get_ops())


def head_of(graph: Any) -> NDArray[np.float32]:
    """Weights of the last linear layer, float32 `(classes, 512)`."""
    (node,) = [node for node in graph.get_ops() if node.get_friendly_name() == HEAD]
    return np.array(node.data, dtype=np.float32)


def _shrunk(grey: Any, side: int, smaller: int) -> Any:
    """`models.pictures.shrunk`; no node of it is put into INT8."""
    if side == smaller:
        return grey
    ops = openvino().opset13
    rows = ops.constant(shrinking(side, smaller))
    fewer = ops.matmul(rows, grey, False, False, name=f"{NORMALISE}.rows")
    both = ops.matmul(fewer, rows, False, True, name=f"{NORMALISE}.columns")
    return ops.round(both, "half_to_even", name=f"{NORMALISE}.levels")


def _normalise(grey: Any, normalisation: Normalisation) -> Any:
    """Grey levels to what the first layer sees: `models.network.SurfaceNetwork.normalised`."""
    ops = openvino().opset13
    x = ops.unsqueeze(grey, np.int64(1))
    if normalisation == "picture":
        return _normalise_each(x, NORMALISE)
    x = ops.divide(x, np.float32(255), name=f"{NORMALISE}.unit")
    if normalisation == "unit":
        return x
    mean, deviation = (
        ops.constant(np.array(values, np.float32).reshape(1, 3, 1, 1))
        for values in (_IMAGENET_MEAN, _IMAGENET_DEVIATION)
    )
    centred = ops.subtract(x, mean, name=f"{NORMALISE}.centred")
    return ops.divide(centred, deviation, name=NORMALISE)


def _normalise_each(x: Any, name: str) -> Any:
    """Zero mean and unit variance, each picture by itself: `models.pictures.normalise`."""
    ops = openvino().opset13
    axes = ops.constant(np.array([2, 3], np.int64))
    mean = ops.reduce_mean(x, axes, keep_dims=True, name=f"{name}.mean")
    centred = ops.subtract(x, mean, name=f"{name}.centred")
    square = ops.multiply(centred, centred, name=f"{name}.square")
    variance = ops.reduce_mean(square, axes, keep_dims=True, name=f"{name}.variance")
    deviation = ops.sqrt(variance, name=f"{name}.deviation")
    contrast = ops.maximum(deviation, np.float32(_MIN_CONTRAST), name=f"{name}.contrast")
    return ops.divide(centred, contrast, name=name)


def _texture(second_stage: Any) -> Any:
    """`models.network.texture_of`; each node by name, so that none is put into INT8."""
    ops = openvino().opset13
    axes = ops.constant(np.array([2, 3], np.int64))
    mean = ops.reduce_mean(second_stage, axes, keep_dims=True, name=f"{TEXTURE}.mean")
    centred = ops.subtract(second_stage, mean, name=f"{TEXTURE}.centred")
    square = ops.multiply(centred, centred, name=f"{TEXTURE}.square")
    variance = ops.reduce_mean(square, axes, keep_dims=False, name=f"{TEXTURE}.variance")
    raised = ops.add(variance, np.float32(_LEAST), name=f"{TEXTURE}.raised")
    deviation = ops.sqrt(raised, name=f"{TEXTURE}.deviation")
    means = ops.squeeze(mean, axes, name=f"{TEXTURE}.means")
    both = ops.concat([means, deviation], axis=1, name=f"{TEXTURE}.both")
    squares = ops.multiply(both, both, name=f"{TEXTURE}.squares")
    across = ops.constant(np.array([1], np.int64))
    total = ops.reduce_sum(squares, across, keep_dims=True, name=f"{TEXTURE}.total")
    least = ops.add(total, np.float32(_LEAST), name=f"{TEXTURE}.least")
    return ops.divide(both, ops.sqrt(least, name=f"{TEXTURE}.length"), name=TEXTURE)


def _first_stage(x: Any, weights: Weights, prefix: str) -> Any:
    """The first convolution, the pooling and the first stage, whose weights' names begin so."""
    ops = openvino().opset13
    x = ops.relu(_convolution(x, weights, f"{prefix}{FIRST_CONVOLUTION}", f"{prefix}bn1", stride=2))
    x = ops.max_pool(x, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]).output(0)
    return _stage(x, weights, f"{prefix}layer1")


def _stage(x: Any, weights: Weights, name: str) -> Any:
    """`models.resnet18.stage`; all but the first make the map half as large."""
    stride = 1 if name.endswith("layer1") else 2
    return _block(_block(x, weights, f"{name}.0", stride=stride), weights, f"{name}.1", stride=1)


def _line_logits(grey: Any, weights: Weights) -> Any:
    """`models.line_network.LineNetwork.forward`; each node by name, so that it can be kept out of INT8."""
    ops = openvino().opset13
    axes = ops.constant(np.array([2, 3], np.int64))
    x = _normalise_each(ops.unsqueeze(grey, np.int64(1)), f"{LINE}{NORMALISE}")
    second = _stage(_first_stage(x, weights, LINE), weights, f"{LINE}layer2")
    third = _stage(second, weights, f"{LINE}layer3")
    pooled = [
        pool(x, axes, keep_dims=False, name=f"{LINE}{POOL}.{number}.{pool.__name__}")
        for number, x in ((3, third), (4, _stage(third, weights, f"{LINE}layer4")))
        for pool in (ops.reduce_mean, ops.reduce_max)
    ]
    together = ops.concat(pooled, axis=1, name=f"{LINE}{POOL}")
    head = ops.constant(weights[f"{LINE}linear.weight"].astype(np.float32))
    bias = ops.constant(weights[f"{LINE}linear.bias"].astype(np.float32).reshape(1, -1))
    product = ops.matmul(together, head, False, True, name=f"{LINE}{LINEAR}")
    return ops.add(product, bias, name=LINE_LOGITS)


def _of_domains(logits: Any, features: Any, weights: Weights) -> Any:
    """`models.domain_classifier.DomainClassifier.forward`; no node of it is put into INT8."""
    ops = openvino().opset13
    alone = weights[f"{DOMAIN}alone"].astype(np.float32).reshape(1, -1)
    slopes = weights[f"{DOMAIN}weight"].astype(np.float32).reshape(-1, 1)
    bias = weights[f"{DOMAIN}bias"].astype(np.float32).reshape(1, 1)
    product = ops.matmul(features, ops.constant(slopes), False, False, name=f"{DOMAIN}product")
    odds = ops.add(product, bias, name=_ODDS)
    # The logarithm of a logistic function is minus the softplus of minus its argument.
    doubts = (ops.softplus(ops.negative(odds), name=f"{DOMAIN}here"), ops.softplus(odds))
    parts = []
    for number, (mine, doubt) in enumerate(zip((alone, 1 - alone), doubts, strict=True)):
        name = f"{DOMAIN}{number}"
        within = ops.log_softmax(
            ops.add(logits, (1 - mine) * np.float32(_NEVER), name=f"{name}.mine"), 1, name=name
        )
        sure = ops.subtract(within, doubt, name=f"{name}.sure")
        parts.append(ops.multiply(sure, mine, name=f"{name}.part"))
    return ops.add(*parts, name=f"{DOMAIN}{LOGITS}")


def _joined(logits: Any, own: Any, weights: Weights) -> Any:
    """`models.line_network.LineNetwork.join`; each node by name, so that none is put into INT8."""
    ops = openvino().opset13
    name = f"{LINE}{JOIN}"
    alone = weights[f"{LINE}alone"].astype(np.float32).reshape(1, -1)
    place = weights[f"{LINE}place"].astype(np.int64)
    absent = place == len(weights[f"{LINE}linear.bias"])
    first = ops.log_softmax(logits, 1, name=f"{name}.first")
    mine = ops.log_softmax(own, 1, name=f"{name}.mine")
    given = ops.multiply(ops.exp(first, name=f"{name}.exp"), alone, name=f"{name}.given")
    total = ops.reduce_sum(given, np.array([1], np.int64), keep_dims=True, name=f"{name}.total")
    more = ops.add(total, np.float32(1e-30), name=f"{name}.more")
    share = ops.log(more, name=f"{name}.share")
    # A class that is not among its own takes the first column, and then nothing of it.
    columns = np.where(absent, 0, place).astype(np.int64)
    floor = np.where(absent, _FLOOR, 0).astype(np.float32).reshape(1, -1)
    placed = ops.add(
        ops.gather(mine, columns, np.int64(1), name=f"{name}.columns"), floor, name=f"{name}.placed"
    )
    shared = ops.add(share, placed, name=f"{name}.shared")
    kept = ops.add(first, alone * np.float32(_FLOOR), name=f"{name}.kept")
    highest = ops.maximum(kept, shared, name=f"{name}.highest")
    below = [
        ops.exp(
            ops.subtract(each, highest, name=f"{name}.below.{number}"), name=f"{name}.exp.{number}"
        )
        for number, each in enumerate((kept, shared))
    ]
    both = ops.log(ops.add(*below, name=f"{name}.sum"), name=f"{name}.both")
    return ops.add(highest, both, name=name)


def _block(x: Any, weights: Weights, name: str, *, stride: int) -> Any:
    """Two 3x3 convolutions beside a short cut: `models.resnet18._Block`."""
    ops = openvino().opset13
    short_cut = x
    if f"{name}.downsample.0.weight" in weights:
        short_cut = _convolution(
            x, weights, f"{name}.downsample.0", f"{name}.downsample.1", stride=stride
        )
    x = ops.relu(_convolution(x, weights, f"{name}.conv1", f"{name}.bn1", stride=stride))
    x = _convolution(x, weights, f"{name}.conv2", f"{name}.bn2", stride=1)
    return ops.relu(ops.add(x, short_cut, name=f"{name}.{SUM}")).output(0)


def _convolution(x: Any, weights: Weights, name: str, norm: str, *, stride: int) -> Any:
    """A convolution with its batch norm folded in; padded so that a stride of 1 keeps the size."""
    ops = openvino().opset13
    kernel = weights[f"{name}.weight"].astype(np.float32)
    variance = weights[f"{norm}.running_var"].astype(np.float32)
    scale = weights[f"{norm}.weight"] / np.sqrt(variance + np.float32(_BATCH_NORM_EPSILON))
    shift = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    pad = [kernel.shape[2] // 2] * 2
    folded = ops.constant((kernel * scale.reshape(-1, 1, 1, 1)).astype(np.float32))
    convolved = ops.convolution(x, folded, [stride] * 2, pad, pad, [1, 1], name=name)
    return ops.add(convolved, ops.constant(shift.reshape(1, -1, 1, 1).astype(np.float32)))
