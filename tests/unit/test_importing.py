import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import drawn_manifest
from judged import judged
from torch import Tensor, nn
from torchvision.models import resnet18, resnet34, resnet50

from models.checkpoint import CheckpointError, load_metadata
from models.decision import Policy
from models.network import SurfaceNetwork, load_network
from models.registry import load_model
from training.data.dataset import load_part
from training.data.manifest import Manifest, ManifestError, Part
from training.model_folder.importing import (
    ImportRefusedError,
    import_weights,
    network_of,
    read_state_dict,
)

CLASSES = ("crazing", "no_defect", "scratches")
STATED = ("scratches", "crazing", "no_defect")
SIZE = 64
POLICY = Policy(normal_classes=("no_defect",), max_missed_defect_rate=0.5, min_defect_confidence=0)
SEEDS = {
    Part.FIT: range(5),
    Part.SELECT: range(5, 9),
    Part.TEST: range(9, 12),
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return drawn_manifest(tmp_path_factory.mktemp("images"), CLASSES, SEEDS)


def colour(pixels: Tensor) -> Tensor:
    """As torchvision's transforms feed a grey picture, `(N, 3, H, W)`."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    scaled = pixels.unsqueeze(1).expand(-1, 3, -1, -1) / 255
    return (scaled - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1)


@pytest.fixture(scope="module")
def elsewhere(manifest: Manifest) -> nn.Module:
    """A network as a user has it, in the order STATED, that names most surfaces rightly."""
    torch.manual_seed(3)
    network = resnet18(num_classes=3)
    images = load_part(manifest, Part.FIT, side=SIZE)
    pixels = colour(torch.from_numpy(images.pixels))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        network.train()(pixels)
        network.eval()
        network.fc, head = nn.Identity(), network.fc
        features = network(pixels)
        wanted = [STATED.index(CLASSES[label]) for label in images.labels]
        centred = torch.hstack([features, torch.ones(len(features), 1)])
        answer = torch.linalg.lstsq(centred, 10 * torch.eye(3)[wanted], driver="gelsd").solution
        head.weight.copy_(answer[:-1].T)
        head.bias.copy_(answer[-1])
        network.fc = head
    return network


@pytest.fixture
def file(tmp_path: Path, elsewhere: nn.Module) -> Path:
    path = tmp_path / "model_best.pth"
    torch.save(elsewhere.state_dict(), path)
    return path


def test_an_imported_network_serves_as_it_was_trained(
    tmp_path: Path, file: Path, manifest: Manifest, elsewhere: nn.Module
) -> None:
    out = tmp_path / "imported"
    done = import_weights(file, out, classes=STATED, manifest=manifest, input_size=SIZE)
    images = load_part(manifest, Part.TEST, side=SIZE)
    with torch.inference_mode():
        expected = elsewhere(colour(torch.from_numpy(images.pixels))).numpy()
    order = [STATED.index(name) for name in CLASSES]
    model = load_model(out, policy=POLICY, runtime="torch")
    outputs = model.runtime.infer(images.pixels)
    # Half precision in the file, float32 beyond.
    np.testing.assert_allclose(outputs.logits, expected[:, order], atol=0.03 * expected.std())
    right = (outputs.logits.argmax(axis=1) == images.labels).mean()
    assert done.evaluation.accuracy == right > 0.5
    assert done.likely_classes is None
    assert model.version == done.metadata.version
    assert model.metadata.classes == manifest.classes
    assert (model.metadata.normalisation, model.input_size) == ("imagenet", SIZE)
    assert model.metadata.recipe == {
        "imported": "model_best.pth",
        "sha256": sha256(file.read_bytes()).hexdigest(),
        "classes_as_stated": list(STATED),
    }
    assert len(model.judge(images.pixels)) == len(images)
    assert model.explain(images.pixels[0])[1].max() > 0


def test_an_imported_model_is_calibrated_and_evaluated_like_any_other(
    tmp_path: Path, file: Path, manifest: Manifest
) -> None:
    out = tmp_path / "imported"
    done = import_weights(file, out, classes=STATED, manifest=manifest, input_size=SIZE)
    assert {path.name for path in out.iterdir()} == {
        "model.safetensors",
        "evidence.safetensors",
        "model.json",
    }
    metadata = load_metadata(out)
    assert metadata.manifest_sha256 == manifest.sha256
    assert metadata.metrics["images"] == {"fit": 15, "select": 12, "test": 9}
    assert metadata.metrics["test"] == json.loads(json.dumps(metadata.metrics["test"]))
    again = judged(out, manifest, Part.TEST)
    assert again.confusion == done.evaluation.confusion
    assert again.cross_entropy == pytest.approx(done.evaluation.cross_entropy, abs=1e-6)


def test_a_network_that_computes_no_numbers_is_refused(
    tmp_path: Path, elsewhere: nn.Module, manifest: Manifest
) -> None:
    state = dict(elsewhere.state_dict())
    state["layer4.1.bn2.running_var"] = torch.full((512,), -1.0)
    torch.save(state, tmp_path / "odd.pth")
    out = tmp_path / "m"
    with pytest.raises(
        ImportRefusedError, match=r"no number from the manifest's images .* earlier state"
    ):
        import_weights(
            tmp_path / "odd.pth", out, classes=STATED, manifest=manifest, input_size=SIZE
        )
    assert not out.exists()


def test_a_wrong_order_of_classes_is_noticed(
    tmp_path: Path, file: Path, manifest: Manifest
) -> None:
    wrong = ("crazing", "no_defect", "scratches")
    done = import_weights(file, tmp_path / "m", classes=wrong, manifest=manifest, input_size=SIZE)
    assert done.likely_classes == STATED


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "model.", "module.model.", "net."])
def test_names_may_have_something_before_them(
    tmp_path: Path, elsewhere: nn.Module, prefix: str
) -> None:
    state = elsewhere.state_dict()
    file = tmp_path / "w.pth"
    torch.save({prefix + key: value for key, value in state.items()}, file)
    read = read_state_dict(file)
    assert read.keys() == state.keys()
    assert all(torch.equal(read[key], value) for key, value in state.items())


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_weights_may_lie_beside_what_a_training_program_remembers(
    tmp_path: Path, elsewhere: nn.Module, key: str
) -> None:
    file = tmp_path / "w.pth"
    torch.save({"epoch": 7, key: elsewhere.state_dict(), "best": 0.9, "names": ["a"]}, file)
    assert read_state_dict(file).keys() == elsewhere.state_dict().keys()


def imported(file: Path) -> SurfaceNetwork:
    return network_of(
        read_state_dict(file), file=file, stated=STATED, order=STATED, normalisation="imagenet"
    )


def test_a_dropout_before_the_last_layer_changes_nothing(
    tmp_path: Path, file: Path, elsewhere: nn.Module
) -> None:
    state = {
        key.replace("fc.", "fc.1."): value.double() for key, value in elsewhere.state_dict().items()
    }
    torch.save(state, tmp_path / "dropout.pth")
    pictures = torch.full((1, SIZE, SIZE), 90, dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(imported(tmp_path / "dropout.pth")(pictures), imported(file)(pictures))


def test_weights_from_before_batches_were_counted_are_taken(
    tmp_path: Path, elsewhere: nn.Module
) -> None:
    state = {k: v for k, v in elsewhere.state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "old.pth")
    imported(tmp_path / "old.pth")


def save_network(network: Callable[..., nn.Module], classes: int = 3) -> Callable[[Path], None]:
    return lambda path: torch.save(network(num_classes=classes).state_dict(), path)


def save_changed(**changes: Any) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        state = resnet18(num_classes=3).state_dict()
        torch.save({**state, **{key.replace("__", "."): to for key, to in changes.items()}}, path)

    return save


def two_layers(path: Path) -> None:
    network = resnet18()
    network.fc = nn.Sequential(nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 3))
    torch.save(network.state_dict(), path)


def with_numpy(path: Path) -> None:
    torch.save({"state_dict": resnet18(num_classes=3).state_dict(), "best": np.float64(1)}, path)


def cut(path: Path) -> None:
    torch.save(resnet18(num_classes=3).state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1000])


def scripted(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 no archive")


HOW_TO_SAVE = r"write `torch.save\(model.state_dict\(\), 'weights.pth'\)` and import that file"


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: torch.save(resnet18(), path), rf"holds more than weights.*{HOW_TO_SAVE}"),
        (with_numpy, rf"holds more than weights.*numpy.*{HOW_TO_SAVE}"),
        (lambda path: path.write_text("text at all"), rf"is no file of weights.*{HOW_TO_SAVE}"),
        (lambda path: path.write_bytes(b""), rf"is no file of weights.*{HOW_TO_SAVE}"),
        (scripted, r"is no file of weights, or is damaged"),
        (cut, r"is no file of weights, or is damaged"),
        (lambda path: path.mkdir(), r"cannot be read: Is a directory"),
        (lambda _: None, r"cannot be read: No such file"),
        (lambda path: torch.save([1, 2], path), rf"holds no state dict, alone.*{HOW_TO_SAVE}"),
        (lambda path: torch.save({}, path), r"holds no state dict, alone"),
        (lambda path: torch.save({"epoch": 3}, path), r"'epoch' is no tensor's name"),
        (lambda path: torch.save({0: torch.zeros(1)}, path), r"0 is no tensor's name"),
        (save_network(resnet34), r"is of a ResNet34; only torchvision's ResNet18"),
        (save_network(resnet50), r"is of a deeper ResNet"),
        (lambda path: torch.save(nn.Linear(3, 2).state_dict(), path), r"it lacks 'bn1.bias'"),
        (save_changed(neck__weight=torch.zeros(3)), r"it also holds 'neck.weight'"),
        (two_layers, r"of another network: it lacks 'fc.bias'"),
        (save_network(resnet18, 1000), r"is of 1000 classes and 3 were stated; state each"),
        (save_network(resnet18, 2), r"is of 2 classes and 3 were stated; state each"),
        (
            save_changed(conv1__weight=torch.zeros(64, 1, 7, 7)),
            r"for grey pictures.*`--normalisation unit` or `--normalisation picture`",
        ),
        (save_changed(conv1__weight=torch.zeros(64, 4, 7, 7)), r"pictures of 4 channels; only one"),
        (
            save_changed(conv1__weight=torch.zeros(64, 3, 3, 3)),
            r"'conv1.weight' has the shape \(64, 3, 3, 3\), not",
        ),
        (save_changed(fc__bias=torch.zeros(4)), r"'fc.bias' has the shape \(4,\), not \(3,\)"),
        (save_changed(fc__bias=torch.full((3,), torch.nan)), r"weights that are no numbers"),
        (save_changed(fc__weight=torch.full((3, 512), 1e6)), r"too large for half precision"),
    ],
)
def test_what_is_no_resnet18_of_these_classes_is_refused_and_nothing_is_left_behind(
    tmp_path: Path, manifest: Manifest, write: Callable[[Path], object], words: str
) -> None:
    file = tmp_path / "w.pth"
    write(file)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ImportRefusedError, match=words) as refused:
        import_weights(file, tmp_path / "m", classes=STATED, manifest=manifest, input_size=SIZE)
    assert str(file) in str(refused.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (("crazing", "scratches"), "the manifest has crazing, no_defect, scratches: state"),
        (("crazing", "scratches", "clean"), "classes stated are crazing, scratches, clean"),
        (("crazing", "crazing", "scratches"), "stated twice"),
    ],
)
def test_other_classes_than_the_manifest_s_are_refused(
    tmp_path: Path, file: Path, manifest: Manifest, classes: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ImportRefusedError, match=words):
        import_weights(file, tmp_path / "m", classes=classes, manifest=manifest)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("part", Part)
def test_a_manifest_that_lacks_a_part_is_refused(
    tmp_path: Path, file: Path, manifest: Manifest, part: Part
) -> None:
    images = tuple(image for image in manifest.images if image.part is not part)
    lacking = replace(manifest, images=images)
    with pytest.raises(ManifestError, match=f"no image in its part '{part.value}'"):
        import_weights(file, tmp_path / "m", classes=STATED, manifest=lacking, input_size=SIZE)
    assert list(tmp_path.iterdir()) == [file]


def test_no_model_is_overwritten(tmp_path: Path, file: Path, manifest: Manifest) -> None:
    out = tmp_path / "m"
    out.mkdir()
    with pytest.raises(CheckpointError, match="never overwritten"):
        import_weights(file, out, classes=STATED, manifest=manifest)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("normalisation", ["picture", "unit"])
def test_a_network_for_grey_pictures_serves_as_it_was_trained(
    tmp_path: Path, manifest: Manifest, normalisation: Any, elsewhere: nn.Module
) -> None:
    grey = resnet18(num_classes=len(STATED))
    grey.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    state = elsewhere.state_dict()
    state["conv1.weight"] = state["conv1.weight"][:, :1]
    grey.load_state_dict(state)
    torch.save(grey.state_dict(), tmp_path / "grey.pth")
    out = tmp_path / "m"
    import_weights(
        tmp_path / "grey.pth",
        out,
        classes=STATED,
        manifest=manifest,
        input_size=SIZE,
        normalisation=normalisation,
    )
    network, _ = load_network(out)
    pictures = torch.from_numpy(load_part(manifest, Part.TEST, side=SIZE).pixels)
    with torch.inference_mode():
        expected = grey.eval()(network.normalised(pictures))
        expected = expected[:, [STATED.index(name) for name in CLASSES]]
        assert (network(pictures) - expected).abs().max() < 0.03 * expected.std()


@pytest.mark.parametrize("normalisation", ["picture", "unit"])
def test_a_network_whose_channels_are_normalised_alike_needs_one(
    tmp_path: Path, file: Path, manifest: Manifest, normalisation: Any, elsewhere: nn.Module
) -> None:
    out = tmp_path / "m"
    import_weights(
        file, out, classes=STATED, manifest=manifest, input_size=SIZE, normalisation=normalisation
    )
    network, metadata = load_network(out)
    assert metadata.normalisation == network.normalisation == normalisation
    pictures = torch.from_numpy(load_part(manifest, Part.TEST, side=SIZE).pixels)
    with torch.inference_mode():
        three = network.normalised(pictures).expand(-1, 3, -1, -1)
        expected = elsewhere(three)[:, [STATED.index(name) for name in CLASSES]]
        assert (network(pictures) - expected).abs().max() < 0.03 * expected.std()
