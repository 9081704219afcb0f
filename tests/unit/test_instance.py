"""How the process ends."""

import subprocess
import sys
from pathlib import Path

import pytest

_LOADING = """
import sys, threading
from pathlib import Path
from daemon.process.instance import end_beside_threads
from models.runtimes.openvino_runtime import load_fp32

model, loaded = Path(sys.argv[1]), threading.Event()

def load():
    while True:
        load_fp32(model)
        loaded.set()

if sys.argv[2] == "loading":
    threading.Thread(target=load, daemon=True).start()
    loaded.wait()
print("stopped")
end_beside_threads()
print("alone")
"""


@pytest.mark.fault(36)
@pytest.mark.parametrize(("beside", "told"), [("loading", "stopped\n"), ("", "stopped\nalone\n")])
def test_a_process_that_is_told_to_stop_ends_in_good_order_though_a_model_is_still_loaded(
    model: Path, beside: str, told: str
) -> None:
    """In a process of its own: the interpreter's end would abort it."""
    command = [sys.executable, "-c", _LOADING, model, beside]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, told), ended.stderr
