"""What else predicts a folder: programs for processes of their own, as their users would write them.

    python rivals.py torch|ultralytics FOLDER SIDE MODEL

Each prints how many images it predicted a second, the first of them aside.
"""

import sys
import time
from pathlib import Path


def torch(files: list[Path], side: int, model: Path) -> float:
    """The loop that people write: PyTorch as it comes, one image after the other."""
    import numpy as np  # noqa: PLC0415 -- another environment has other packages
    from PIL import Image  # noqa: PLC0415
    from torch import from_numpy, inference_mode  # noqa: PLC0415

    from models.network import load_network  # noqa: PLC0415

    network, _ = load_network(model)
    network.eval()

    def predict(file: Path) -> int:
        pixels = np.array(Image.open(file).convert("L").resize((side, side)))
        return int(network(from_numpy(pixels)[None]).argmax())

    with inference_mode():
        predict(files[0])
        start = time.perf_counter()
        for file in files:
            predict(file)
    return len(files) / (time.perf_counter() - start)


def ultralytics(files: list[Path], side: int, model: Path) -> float:  # noqa: ARG001 -- its own
    """yolo11n-cls, 32 at a time, at 224 px; weights at random, so nothing is fetched."""
    from ultralytics import YOLO  # noqa: PLC0415

    network = YOLO("yolo11n-cls.yaml", task="classify")
    # Without weights it knows no size of its own, and would take 640.
    network.predict(source=str(files[0]), imgsz=224, verbose=False)
    start = time.perf_counter()
    results = network.predict(
        source=str(files[0].parent), imgsz=224, batch=32, stream=True, verbose=False
    )
    found = sum(result.probs is not None for result in results)
    return found / (time.perf_counter() - start)


if __name__ == "__main__":
    which, folder, side, model = sys.argv[1:]
    rival = {"torch": torch, "ultralytics": ultralytics}[which]
    print(rival(sorted(Path(folder).glob("*.jpg")), int(side), Path(model)))
