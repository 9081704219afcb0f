"""What trainings in tests have in common: a few drawn pictures of three classes, and two short epochs."""

from dataclasses import replace

import torch

from training.data.manifest import Part
from training.fitting.recipe import STEEL

CLASSES = ("crazing", "no_defect", "scratches")
SIDE = 32
RECIPE = replace(
    STEEL,
    epochs=2,
    batch=16,
    first_size=SIDE,
    train_size=SIDE,
    input_size=SIDE,
    learning_rate=1e-3,
    ema_decay=0.5,
)
SEEDS = {
    Part.FIT: range(10),
    Part.SELECT: range(10, 15),
    Part.TEST: range(15, 19),
}
CPU = torch.device("cpu")
