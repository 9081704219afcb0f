"""How sure a network may say it is: one temperature, fitted to held-out images. Numpy only."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def fit_temperature(logits: Floats, labels: NDArray[np.int64]) -> float:
    """The temperature that makes held-out labels most likely (Guo et al. 2017, arXiv:1706.04599).

    N images without a mistake do not prove certainty. So two more are counted, each as uncertain as
    the least certain one seen: of its two first choices, one had the first and one had the second
    (Laplace's rule of succession, where the next mistake is likeliest). A golden-section search on
    the logarithm over 0.05..20; the likelihood has one peak there.
    """
    rows = np.arange(len(labels))
    ordered = np.sort(logits, axis=1).astype(np.float64)
    least = int((ordered[:, -1] - ordered[:, -2]).argmin()) if logits.shape[1] > 1 else 0

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_temperature)
        log_likelihood = scaled - scaled.max(axis=1, keepdims=True)
        log_likelihood -= np.log(np.exp(log_likelihood).sum(axis=1, keepdims=True))
        doubted = np.sort(log_likelihood[least])[-2:]
        return float(-log_likelihood[rows, labels].sum() - doubted.sum())

    low, high = float(np.log(0.05)), float(np.log(20.0))
    ratio = (np.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Floats = (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities
