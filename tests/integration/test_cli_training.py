"""`crossvalidate` and `evaluate --corruptions`, on a few drawn surfaces."""

import json
import pickle
import re
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from commands import Millwatch
from drawn import prepared_manifest

from daemon.cli.learning import fetched
from daemon.cli.options import CommandError
from models.checkpoint import load_metadata
from training.crossvalidate import fold_of
from training.data.manifest import Part, load_manifest
from training.judging.corruptions import CORRUPTIONS, SEVERITIES

CLASSES = ("crazing", "pitted_surface")
EACH = 4
"""Of a class; of few classes do so few lie in all parts and folds."""


@pytest.fixture
def manifest(millwatch: Millwatch, tmp_path: Path) -> Path:
    return prepared_manifest(millwatch, tmp_path, CLASSES, images_of_a_class=EACH)


def test_a_recipe_is_cross_validated_and_its_models_can_be_evaluated_on_spoilt_pictures(
    millwatch: Millwatch, manifest: Path, tmp_path: Path
) -> None:
    """In the second fold alone, as that is asked for; every fold's turn: see test_training.py."""
    out = tmp_path / "folds"
    arguments = (
        "crossvalidate", manifest, "--out", out, "--folds", "4", "--fold", "2",
        "--recipe", "steel", "--epochs", "1",
    )  # fmt: skip
    done = millwatch(*arguments, "--corruptions", "--json")
    assert done.status == 0, done.err
    assert "fold 2/4" in done.err
    assert "fold 1/4" not in done.err
    assert [path.name for path in out.iterdir() if path.is_dir()] == ["fold-1"]
    told = json.loads(done.out)
    assert told == json.loads((out / "crossvalidation.json").read_text())
    tested = len(fold_of(load_manifest(manifest), 1, folds=4).of_part(Part.TEST))
    assert 0 < tested < 2 * EACH
    assert told["pooled"]["images"] == tested
    assert len(told["mistakes"]) == round(tested * (1 - told["pooled"]["accuracy"]))
    assert {kind: len(of) for kind, of in told["corruptions"].items()} == dict.fromkeys(
        CORRUPTIONS, len(SEVERITIES)
    )
    right = [accuracy * tested for of in told["corruptions"].values() for accuracy in of]
    assert right == pytest.approx([round(count) for count in right])

    again = millwatch(*arguments, "--novel", load_manifest(manifest).root)
    assert "epoch" not in again.err, "what is trained is only judged"
    assert told["numbers"] == [2]
    assert f"right: {told['folds'][0]['count']} of {tested} in fold 2\n" in again.out
    assert re.search(r"^fold 2: .* called unknown, AUROC", again.out, re.MULTILINE)
    assert f"called unknown: {told['called_unknown']['count']} of {tested}" in again.out

    table = millwatch("evaluate", out / "fold-1", manifest, "--corruptions")
    assert table.status == 0, table.err
    assert "motion blur" in table.out
    assert "mean over all of them" in table.out


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            ("--folds", "2", "--fold", "1", "--novel", "nowhere"),
            "nowhere holds no picture; name a folder",
        ),
        (("--fold", "6"), "the folds are numbered 1 to 5"),
        (("--folds", "30"), "of 30 has no image in its part 'test'; ask for fewer folds"),
        (("--leave-out",), "of 2 classes none can be left out"),
    ],
)
def test_what_would_end_a_cross_validation_is_told_before_anything_is_trained(
    millwatch: Millwatch, manifest: Path, tmp_path: Path, asked: tuple[str, str], told: str
) -> None:
    out = tmp_path / "folds"
    done = millwatch("crossvalidate", manifest, "--out", out, "--epochs", "1", *asked)
    assert done.status == 1
    assert told in done.err
    assert not out.exists()


@pytest.mark.parametrize(
    "command",
    [
        ("prepare", "NEU_DET", "--out"),
        ("prepare", "NEU_DET", "--out", "MANIFEST", "--folders"),
        ("train", "MANIFEST", "--epochs", "1", "--out"),
        ("crossvalidate", "MANIFEST", "--epochs", "1", "--out"),
        ("crossvalidate", "MANIFEST", "--epochs", "1", "--leave-out", "--out"),
        ("evaluate", "MODEL", "MANIFEST", "--report"),
        (
            *("models", "import", "MODEL", "--classes", "a", "--manifest", "MANIFEST"),
            "--out",
        ),
    ],
)
def test_where_nothing_can_be_written_is_told_before_the_work(
    millwatch: Millwatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """What the work would begin with is not even there."""
    file = tmp_path / "a file"
    file.touch()
    names = {"NEU_DET", "MANIFEST", "MODEL"}
    named = [tmp_path / "none" / each if each in names else each for each in command]
    done = millwatch(*named, file / "below" / "out")
    assert done.status == 1
    assert done.err.startswith(f"millwatch: {file / 'below'}")
    assert "cannot be written: Not a directory; name another place" in done.err
    assert list(tmp_path.iterdir()) == [file]


def test_each_class_is_left_out_in_turn(millwatch: Millwatch, tmp_path: Path) -> None:
    classes = ("patches", "pitted_surface", "scratches")
    manifest = prepared_manifest(millwatch, tmp_path, classes, images_of_a_class=EACH)
    out = tmp_path / "left"
    arguments = (
        "crossvalidate",
        manifest,
        "--out",
        out,
        "--leave-out",
        "--epochs",
        "1",
        "--recipe",
        "steel",
    )
    done = millwatch(*arguments)
    assert done.status == 0, done.err
    left = {path.name.removeprefix("without-") for path in out.iterdir() if path.is_dir()}
    assert left == set(classes)
    assert load_metadata(out / "without-scratches").classes == ("patches", "pitted_surface")
    assert "mean AUROC" in done.out
    again = millwatch(*arguments, "--json")
    assert "epoch" not in again.err, "what is trained is only judged"
    told = json.loads(again.out)
    assert told == json.loads((out / "left_out.json").read_text())
    assert all(0 <= of["auroc"] <= 1 for of in told.values())


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._mark,)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of a server of the files in `tmp_path / "served"`."""
    (tmp_path / "served").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "served")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_weights_that_are_fetched_are_those_that_their_name_says_and_are_not_unpickled(
    tmp_path: Path, address: str
) -> None:
    weights = pickle.dumps(Trap(tmp_path / "was run"))
    name = f"resnet18-{sha256(weights).hexdigest()[:8]}.pth"
    (tmp_path / "served" / name).write_bytes(weights)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / name).write_bytes(weights[:-1])
    for _ in ("what was cut short is fetched anew", "what is whole is not"):
        assert fetched(f"{address}/{name}", kept) == kept / name
        assert (kept / name).read_bytes() == weights
        (tmp_path / "served" / name).write_bytes(b"others")
    (kept / name).unlink()
    with pytest.raises(CommandError, match=r"cannot be fetched \(invalid hash value"):
        fetched(f"{address}/{name}", kept)
    assert [path.name for path in kept.iterdir()] == []
    assert not (tmp_path / "was run").exists()


def test_what_leaving_out_does_not_measure_is_not_asked_for_in_vain(
    millwatch: Millwatch, manifest: Path, tmp_path: Path
) -> None:
    done = millwatch("crossvalidate", manifest, "--out", tmp_path, "--leave-out", "--corruptions")
    assert done.status == 2
    assert "are of folds" in done.err


def test_weights_that_are_not_there_are_named(
    millwatch: Millwatch, manifest: Path, tmp_path: Path
) -> None:
    done = millwatch("train", manifest, "--out", tmp_path / "m", "--weights", tmp_path / "gone")
    assert done.status == 2
    assert "there is no" in done.err
    assert "--weights" in done.err


@pytest.mark.parametrize("command", ["train", "crossvalidate"])
def test_a_seed_that_is_too_large_is_refused(
    millwatch: Millwatch, tmp_path: Path, command: str
) -> None:
    out = tmp_path / "out"
    done = millwatch(command, tmp_path / "none.json", "--out", out, "--seed", str(2**63))
    assert done.status == 2
    assert "--seed" in done.err


def test_a_recipe_that_is_none_is_named(
    millwatch: Millwatch, manifest: Path, tmp_path: Path
) -> None:
    done = millwatch("crossvalidate", manifest, "--out", tmp_path / "folds", "--recipe", "best")
    assert done.status == 2
    assert "no recipe 'best'" in done.err
    assert not (tmp_path / "folds").exists()
