"""Held-out images of a made-up training run, and what is decided from them."""

import numpy as np
from numpy.typing import NDArray

from models.decision import Decider, Decision, Policy
from models.evidence import Evidence, collect_evidence

CLASSES = ("crazing", "scratches", "no_defect")
NORMAL = 2
POLICY = Policy(
    normal_classes=("no_defect",), max_missed_defect_rate=0.005, min_defect_confidence=0.5
)
FEATURES = 32

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


def directions(labels: Labels, *, seed: int = 0, spread: float = 0.05) -> Floats:
    """Features that cluster by class, `(N, FEATURES)`, of about one length."""
    random = np.random.default_rng(seed)
    centres = np.eye(FEATURES)[labels]
    noisy = centres + spread * random.standard_normal((len(labels), FEATURES))
    features: Floats = (noisy * random.uniform(4.9, 5.1, (len(labels), 1))).astype(np.float32)
    return features


def certain(labels: Labels, confidence: float = 0.999) -> Floats:
    """Logits whose softmax gives the label this probability, the others the rest equally."""
    rest = (1 - confidence) / (len(CLASSES) - 1)
    probabilities = np.full((len(labels), len(CLASSES)), rest)
    probabilities[np.arange(len(labels)), labels] = confidence
    logits: Floats = np.log(probabilities).astype(np.float32)
    return logits


def held_out(defects: int, normal: int = 100) -> Labels:
    return np.concatenate([np.arange(defects) % 2, np.full(normal, NORMAL)]).astype(np.int64)


def evidence_of(labels: Labels, logits: Floats | None = None, *, seed: int = 0) -> Evidence:
    return collect_evidence(
        fitted_features=directions(np.arange(300) % 3, seed=seed + 1),
        features=directions(labels, seed=seed + 2),
        logits=certain(labels) if logits is None else logits,
        labels=labels,
    )


def decider_of(evidence: Evidence, policy: Policy = POLICY) -> Decider:
    return Decider(classes=CLASSES, evidence=evidence, policy=policy)


def decide(decider: Decider, label: int, confidence: float) -> Decision:
    """About one image that lies among its class, at a calibrated confidence."""
    labels = np.array([label])
    logits = certain(labels, confidence) * np.float32(decider.temperature)
    (decision,) = decider.decide(logits, directions(labels, spread=0.0))
    return decision
