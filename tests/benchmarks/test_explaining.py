"""Whether the memory of a process grows as it explains one image after the other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from builders import clean_environment, write_model

from models.registry import PRETRAINED

IMAGES = int(os.environ.get("BENCH_IMAGES", "10000"))
_PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np
from models.decision import Policy
from models.heatmap import overlay
from models.registry import load_model

images = int(sys.argv[2])
policy = Policy(normal_classes=(), max_missed_defect_rate=0.005, min_defect_confidence=0.5)
model = load_model(Path(sys.argv[1]), policy=policy)
random = np.random.default_rng(0)
for number in range(1, images + 1):
    pixels = random.integers(0, 256, (model.input_size,) * 2, dtype=np.uint8)
    _, heat = model.explain(pixels)
    overlay(pixels, heat)
    if number in (images // 10, images):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"{number} {model.runtime.name.replace(' ', '_')} {peak / 1024:.1f}", flush=True)
"""


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
def test_explaining_ten_thousand_images_takes_the_memory_of_a_thousand(tmp_path: Path) -> None:
    """BENCH_IMAGES: another number; BENCH_SIDE: a model of that input size instead of the shipped."""
    program = tmp_path / "explain.py"
    program.write_text(_PROGRAM)
    side = os.environ.get("BENCH_SIDE")
    model = write_model(tmp_path / "model", input_size=int(side)) if side else PRETRAINED
    done = subprocess.run(
        [sys.executable, program, model, str(IMAGES)],
        env={**clean_environment(), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    early, late = (line.split() for line in done.stdout.splitlines())
    print(
        f"\npeak memory of a process that explains ({early[1]}): {early[2]} MiB after {early[0]} "
        f"images, {late[2]} MiB after {late[0]}"
    )
    assert float(late[2]) < float(early[2]) * 1.05 + 16
