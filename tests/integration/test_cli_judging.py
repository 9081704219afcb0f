import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import Station, run_cli, surface_file
from commands import Done, Millwatch
from PIL import Image

from daemon.names import to_text
from daemon.serving import point_to
from models.checkpoint import load_evidence, save
from models.network import load_network, stored_weights
from models.taxonomy import KNOWN_DEFECTS

PROMISED = [
    "filename",
    "prediction",
    "confidence",
    "verdict",
    "reason",
    "novelty",
    "unknown",
    "model_version",
]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


def lines(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


def picture(folder: Path, name: str, *, seed: int = 0, form: str = "jpeg") -> Path:
    path = folder / name
    path.write_bytes(surface_file("scratches", seed=seed, form=form))
    return path


# --- predict ---------------------------------------------------------------------------------------


def test_predict_prints_one_object_a_line_for_whatever_it_is_given(
    station: Station, pictures: Path, tmp_path: Path
) -> None:
    """In a process of its own: the bytes of a name go through the command line."""
    for name, form in (("b.png", "png"), ("a.jpg", "jpeg"), ("c.BMP", "bmp"), ("notes.txt", "png")):
        picture(pictures, name, form=form)
    (pictures / "cut.jpg").write_bytes(surface_file()[:1500])
    (pictures / "in").mkdir()
    picture(pictures / "in", "d.jpg")
    odd = tmp_path / os.fsdecode(b"caf\xe9 \\xe9\n.jpg")
    odd.write_bytes(surface_file())
    (tmp_path / "empty.jpg").touch()

    done = run_cli("predict", "--config", station.config, odd, tmp_path / "empty.jpg", pictures)

    assert done.returncode == 0, done.stderr
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["filename"] for each in printed] == [
        to_text(odd),
        str(tmp_path / "empty.jpg"),
        *(str(pictures / name) for name in ("a.jpg", "b.png", "c.BMP", "cut.jpg", "in/d.jpg")),
    ]
    assert all(list(each)[: len(PROMISED)] == PROMISED for each in printed)
    unreadable = {str(tmp_path / "empty.jpg"): "empty", str(pictures / "cut.jpg"): "truncated"}
    for each in printed:
        if each["filename"] in unreadable:
            assert each["verdict"] == "unreadable"
            assert each["reason"] == unreadable[each["filename"]]
            assert each["prediction"] is None
            assert each["confidence"] is None
            assert each["novelty"] is None
            assert each["unknown"] is False
        else:
            assert each["verdict"] in {"defect", "unsure"}
            assert each["prediction"] in KNOWN_DEFECTS
            assert 0 < each["confidence"] <= 1
            assert each["novelty"] >= 0
            assert isinstance(each["unknown"], bool)
        assert each["model_version"] == "tiny-6-0"
    assert done.stderr == ""


def test_many_images_are_told_in_the_order_asked_for_across_batches(
    millwatch: Millwatch, station: Station, pictures: Path
) -> None:
    paths = [picture(pictures, f"{number}.jpg", seed=number) for number in range(5)]
    paths[1].write_bytes(b"nothing of a picture")
    predict = ("predict", "--config", station.config, *paths, paths[0])
    at_once = lines(millwatch(*predict))
    station.tables = {"batching": {"max_images": 2}}
    station.write_config()
    by_twos = lines(millwatch(*predict))

    assert [line["filename"] for line in at_once] == [str(path) for path in (*paths, paths[0])]
    assert [line["verdict"] == "unreadable" for line in at_once] == [False, True] + 4 * [False]
    assert at_once[0] == at_once[5]
    assert at_once[0]["novelty"] != at_once[2]["novelty"]
    for one, other in zip(at_once, by_twos, strict=True):
        assert {**one, "confidence": None, "novelty": None} == {
            **other,
            "confidence": None,
            "novelty": None,
        }
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-4)


def test_what_was_converted_is_said_with_the_prediction(
    millwatch: Millwatch, station: Station, pictures: Path
) -> None:
    grey = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(grey).save(pictures / "deep.png")
    (line,) = lines(millwatch("predict", "--config", station.config, pictures))
    assert "12" in line["notes"]


def test_what_cannot_be_read_is_told_and_the_others_are_judged(
    millwatch: Millwatch, station: Station, pictures: Path
) -> None:
    whole = picture(pictures, "a.jpg")
    os.mkfifo(pictures / "pipe.jpg")
    missing = pictures / "missing.jpg"
    done = millwatch("predict", "--config", station.config, missing, pictures / "pipe.jpg", whole)
    assert done.status == 1
    assert [line["filename"] for line in lines(done)] == [str(whole)]
    assert done.err.splitlines() == [
        f"millwatch: {missing} cannot be judged: No such file or directory",
        f"millwatch: {pictures / 'pipe.jpg'} cannot be judged: it is neither a file nor a folder",
    ]


def test_a_folder_gives_its_images_and_never_waits_for_a_pipe_or_follows_a_link(
    millwatch: Millwatch, station: Station, pictures: Path, tmp_path: Path
) -> None:
    whole = picture(pictures, "a.jpg")
    os.mkfifo(pictures / "b.jpg")
    (pictures / "c.jpg").symlink_to(picture(tmp_path, "outside.jpg"))
    done = millwatch("predict", "--config", station.config, pictures)
    assert done.status == 0
    assert [line["filename"] for line in lines(done)] == [str(whole)]


def test_a_file_over_the_limit_is_unreadable_and_is_not_read(
    millwatch: Millwatch, station: Station, pictures: Path
) -> None:
    station.tables = {"intake": {"max_bytes": 100}}
    station.write_config()
    picture(pictures, "a.jpg")
    (line,) = lines(millwatch("predict", "--config", station.config, pictures))
    assert (line["verdict"], line["reason"]) == ("unreadable", "too_many_bytes")


def test_another_model_can_be_asked(
    millwatch: Millwatch, station: Station, pictures: Path, model: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(model, other)
    about = other / "model.json"
    about.write_text(about.read_text().replace('"tiny-6-0"', '"other-1"'))
    picture(pictures, "a.jpg")
    done = millwatch("predict", "--config", station.config, "--model", other, pictures)
    assert [line["model_version"] for line in lines(done)] == ["other-1"]


def test_another_model_can_be_asked_on_a_line_that_promoted_one(
    millwatch: Millwatch, station: Station, pictures: Path, commissioned_model: Path
) -> None:
    promoted = station.state_dir / "models" / "tiny-7-0"
    shutil.copytree(commissioned_model, promoted)
    point_to(station.settings(), promoted)
    picture(pictures, "a.jpg")
    for option, version in (((), "tiny-7-0"), (("--model", station.model), "tiny-6-0")):
        done = millwatch("predict", "--config", station.config, *option, pictures)
        assert [line["model_version"] for line in lines(done)] == [version]


@pytest.mark.parametrize(
    "command", [["predict"], ["explain", "--out", "overlays"]], ids=lambda c: c[0]
)
def test_a_folder_that_is_no_model_is_a_bad_option(
    millwatch: Millwatch, station: Station, pictures: Path, command: list[str]
) -> None:
    path = picture(pictures, "a.jpg")
    done = millwatch(*command, "--config", station.config, "--model", pictures, path)
    assert done.status == 2
    assert "--model" in done.err
    assert str(pictures) in done.err
    assert done.out == ""


def test_a_configured_model_that_is_damaged_is_a_matter_of_configuration(
    millwatch: Millwatch, station: Station, pictures: Path, model: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(model, damaged)
    for file in damaged.iterdir():
        file.write_bytes(file.read_bytes()[:100])
    station.tables = {"model": {"folder": str(damaged)}}
    station.write_config()
    done = millwatch("predict", "--config", station.config, picture(pictures, "a.jpg"))
    assert done.status == 78
    assert str(damaged) in done.err


@pytest.mark.parametrize("command", [("predict",), ("explain", "--out", "overlays")])
def test_a_model_whose_numbers_are_none_is_told_in_words(
    millwatch: Millwatch,
    pictures: Path,
    model: Path,
    tmp_path: Path,
    command: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    network, metadata = load_network(model)
    with torch.no_grad():
        network.backbone.fc.weight.fill_(torch.nan)
    save(tmp_path / "nan", stored_weights(network), metadata, load_evidence(model, metadata))
    done = millwatch(*command, picture(pictures, "a.jpg"), "--model", tmp_path / "nan")
    assert done.status == 1
    assert done.err.startswith(f"millwatch: model {metadata.version} gave numbers that are none")
    assert "millwatch models rollback" in done.err
    assert done.out == ""


# --- explain ---------------------------------------------------------------------------------------


def test_explain_lays_a_heatmap_over_each_picture_at_its_own_size(
    millwatch: Millwatch, station: Station, pictures: Path, tmp_path: Path
) -> None:
    picture(pictures, "a.jpg")
    out = tmp_path / "new" / "overlays"
    done = millwatch("explain", "--config", station.config, "--out", out, pictures)
    assert done.status == 0
    (line,) = lines(done)
    assert list(line)[: len(PROMISED)] == PROMISED
    assert line["overlay"] == str(out / "a.jpg.heatmap.png")
    with Image.open(out / "a.jpg.heatmap.png") as overlay:
        pixels = np.asarray(overlay)
    assert pixels.shape == (96, 96, 3)
    assert (pixels[..., 0] != pixels[..., 2]).any(), "some of it is tinted"
    (judged,) = lines(millwatch("predict", "--config", station.config, pictures))
    assert {key: line[key] for key in judged} == judged


def test_explain_never_writes_over_anything(
    millwatch: Millwatch, station: Station, pictures: Path, tmp_path: Path
) -> None:
    path = picture(pictures, "a.jpg")
    taken = tmp_path / "a.jpg.heatmap.png"
    taken.write_bytes(b"mine")
    (tmp_path / "a.jpg.heatmap-2.png").symlink_to(tmp_path / "elsewhere")
    explain = ("explain", "--config", station.config, "--out", tmp_path, path, path)
    written = [line["overlay"] for line in lines(millwatch(*explain))]
    assert written == [str(tmp_path / f"a.jpg.heatmap-{number}.png") for number in (3, 4)]
    assert taken.read_bytes() == b"mine"
    assert not (tmp_path / "elsewhere").exists()


def test_explain_copes_with_the_longest_name_and_with_one_that_is_not_utf_8(
    millwatch: Millwatch, station: Station, pictures: Path, tmp_path: Path
) -> None:
    picture(pictures, os.fsdecode(b"\xe9" * 251 + b".jpg"))
    picture(pictures, "ö" * 125 + ".jpg")
    done = millwatch("explain", "--config", station.config, "--out", tmp_path / "out", pictures)
    assert done.status == 0, done.err
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_explain_tells_what_has_no_picture_to_explain(
    millwatch: Millwatch, station: Station, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "cut.jpg").write_bytes(surface_file()[:1500])
    whole = picture(pictures, "whole.jpg")
    done = millwatch("explain", "--config", station.config, "--out", tmp_path / "out", pictures)
    assert done.status == 1
    assert [line["filename"] for line in lines(done)] == [str(whole)]
    assert f"{pictures / 'cut.jpg'} cannot be judged: truncated" in done.err


def test_explain_says_where_it_cannot_write(
    millwatch: Millwatch, station: Station, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    path = picture(pictures, "a.jpg")
    done = millwatch("explain", "--config", station.config, "--out", tmp_path / "file", path)
    assert done.status == 1
    assert f"{tmp_path / 'file'} cannot be made, for the overlays" in done.err
