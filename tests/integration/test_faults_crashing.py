"""A picture that the decoder's C code dies on (row 48)."""

import io
import signal
from pathlib import Path

import pytest
from builders import Station, assert_every_image_accounted_for, surface_file, wait_until
from PIL import Image

POISON = b"this one"
# What a defect in libjpeg would do. Python runs a module of this name at each start.
BROKEN_DECODER = f"""
import ctypes
from PIL import ImageFile
load = ImageFile.ImageFile.load
def crashing(self):
    if self.info.get("comment") == {POISON!r}:
        ctypes.string_at(0)
    return load(self)
ImageFile.ImageFile.load = crashing
"""


def poison_file() -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(surface_file(seed=1))).save(file, "JPEG", comment=POISON)
    return file.getvalue()


@pytest.mark.fault(48)
def test_a_picture_that_kills_the_decoder_ends_the_service_once_and_then_lies_in_quarantine(
    station: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text(BROKEN_DECODER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    # Where text is written in other letters than UTF-8.
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    station.drop("bottom-1", "sound.jpg", surface_file(seed=2))
    station.drop("top-1", "Stück 1.jpg", poison_file())
    process = station.start()
    assert process.wait(timeout=60) == -signal.SIGSEGV
    with station.process() as process:
        station.wait_for_images(2)
        station.drop("top-1", "next.jpg", surface_file(seed=3))
        station.wait_for_images(3)
        assert process.poll() is None
    assert station.reasons() == {"Stück 1.jpg": "crashes"}
    assert_every_image_accounted_for(station)
    assert "crashing" in (tmp_path / "daemon.log").read_text(), "where it died"


def test_a_picture_that_was_only_there_when_something_else_crashed_is_judged(
    station: Station,
) -> None:
    """Every camera's last picture is tried, and only the one to blame is set aside."""
    with station.process() as process:
        station.drop("top-1", "first.jpg", surface_file(seed=1))
        station.wait_for_images(1)
        process.send_signal(signal.SIGSEGV)
        assert process.wait(timeout=60) == -signal.SIGSEGV
    assert (station.state_dir / "crash.txt").stat().st_size > 0
    note = (station.state_dir / "decoding" / "files of top-1").read_text()
    assert "first.jpg" in note
    with station.running():
        station.drop("top-1", "second.jpg", surface_file(seed=2))
        wait_until(lambda: station.count() == 2)
    assert (station.state_dir / "crash.txt").stat().st_size == 0
    assert station.reasons() == {}
    assert_every_image_accounted_for(station)
