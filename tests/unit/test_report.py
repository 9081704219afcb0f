import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from boxed import write_boxed_manifest
from builders import surface_file
from filesystems import no_file_larger
from judged import judged

from config.settings import Policy as PolicySettings
from models.decision import PassRule, Policy
from models.taxonomy import KNOWN_DEFECTS, NO_DEFECT
from training.data.manifest import Manifest, Part
from training.fitting.fit import Epoch
from training.judging.assessment import UNSURE_SHOWN, WRONG_SHOWN, Assessment, assess
from training.judging.doubting import Doubt
from training.judging.looking_over import Alike, Look, Mixed
from training.judging.serving import AS_CONFIGURED
from training.report.page import render, write

VOID = {"meta", "img", "br", "link", "input", "hr"}
DRAWN_CLOSED = {"line", "rect", "circle", "polyline"}


class Page(HTMLParser):
    """A report as a browser reads it; fails when an element is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in DRAWN_CLOSED
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write_boxed_manifest(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def assessment(
    model: Path, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory
) -> Assessment:
    foreign = tmp_path_factory.mktemp("foreign") / "other <metal>"
    foreign.mkdir()
    for number in range(4):
        (foreign / f"{number}.jpg").write_bytes(surface_file(NO_DEFECT, seed=number))
    return assess(model, manifest, Part.TEST, foreign=foreign)


@pytest.fixture(scope="module")
def page(assessment: Assessment) -> Page:
    return Page(render(assessment))


def epochs(*losses: float) -> tuple[Epoch, ...]:
    return tuple(
        Epoch(
            number=number,
            epochs=len(losses),
            fit_loss=loss,
            select_loss=loss,
            select_accuracy=0.9,
            kept=number == 1,
        )
        for number, loss in enumerate(losses, 1)
    )


def test_what_is_measured_agrees_with_itself(
    assessment: Assessment, model: Path, manifest: Manifest
) -> None:
    images = len(manifest.images)
    evaluation = assessment.evaluation
    assert evaluation == judged(model, manifest, Part.TEST)
    assert sum(rate.count for rate in assessment.outcomes.values()) == images
    unknown = assessment.outcomes.get(("unsure", "unknown"))
    assert assessment.called_unknown.count == (unknown.count if unknown else 0)
    assert sum(each.images for each in assessment.reliability) == images
    right = sum(rate.count for rate in assessment.recalls.values())
    assert right == images - len(evaluation.mistakes)
    for name, rate in assessment.recalls.items():
        assert rate.share == pytest.approx(evaluation.classes[name].recall)
        assert rate.interval[0] <= rate.share <= rate.interval[1]
    assert len(assessment.wrong) == min(len(evaluation.mistakes), WRONG_SHOWN)
    assert len(assessment.unsure) == min(right, UNSURE_SHOWN)


def test_the_worst_come_first_with_their_pictures(assessment: Assessment) -> None:
    wrong = [case.decision.confidence for case in assessment.wrong]
    unsure = [case.decision.confidence for case in assessment.unsure]
    assert wrong == sorted(wrong, reverse=True)
    assert unsure == sorted(unsure)
    assert unsure
    for case in assessment.wrong:
        assert case.true != case.decision.predicted_class
    for case in assessment.unsure:
        assert case.true == case.decision.predicted_class
    for case in (*assessment.wrong, *assessment.unsure):
        assert case.picture.shape == (96, 96)
        assert case.explained.shape == (96, 96, 3)


def test_large_pictures_are_made_smaller(model: Path, tmp_path: Path) -> None:
    manifest = write_boxed_manifest(tmp_path / "data", each=1, boxed=0, side=500)
    shown = assess(model, manifest, Part.TEST, corruptions=False)
    assert {case.picture.shape for case in (*shown.wrong, *shown.unsure)} == {(240, 240)}


def test_the_policy_of_a_report_is_the_one_that_a_line_has_without_settings() -> None:
    settings = PolicySettings()
    assert (
        Policy(
            normal_classes=settings.normal_classes,
            max_missed_defect_rate=settings.max_missed_defect_rate,
            min_defect_confidence=settings.min_defect_confidence,
            max_wrong_class_rate=settings.max_wrong_class_rate,
        )
        == AS_CONFIGURED
    )


def test_a_report_fetches_nothing_and_runs_nothing(assessment: Assessment, page: Page) -> None:
    for tag, attributes in page.seen:
        assert tag not in {"script", "link", "iframe", "object"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "data", "action", "xlink:href", "srcset"}:
                assert str(value).startswith(("data:image/", "#"))
    assert not re.search(r"@import|https?:|url\(", render(assessment))


def test_a_report_holds_the_figures_that_it_was_given(assessment: Assessment, page: Page) -> None:
    evaluation = assessment.evaluation
    low, high = evaluation.accuracy_interval
    assert f"{100 * evaluation.accuracy:.2f} %" in page.text
    assert f"{100 * low:.2f} % to {100 * high:.2f} %" in page.text
    assert f"{100 * evaluation.expected_calibration_error:.2f} %" in page.text
    assert f"{assessment.support.temperature:.4f}" in page.text
    assert f"{assessment.support.novelty_threshold:.5f}" in page.text
    assert assessment.familiar_threshold is not None
    assert f"while commissioning {assessment.familiar_threshold:.5f}" in page.text
    assert assessment.foreign is not None
    assert f"AUROC {assessment.foreign.auroc:.3f}" in page.text
    assert assessment.pointing is not None
    for name in KNOWN_DEFECTS:
        rate = assessment.recalls[name]
        assert f"{name} {rate.of} {rate.count} {100 * rate.share:.1f} %" in page.text
        row = evaluation.confusion[KNOWN_DEFECTS.index(name)]
        assert f"{name} {' '.join(map(str, row))}" in page.text
        near = assessment.pointing.classes[name].near
        assert f"{name} {assessment.pointing.images[name]} {100 * near:.1f} %" in page.text
    for kind, of in assessment.spoilt.items():
        told = " ".join(f"{100 * each.accuracy:.1f} %" for each in of)
        assert f"{kind} {told}" in page.text
    for (verdict, reason), rate in assessment.outcomes.items():
        assert f"{verdict} {reason} {rate.count}" in page.text
    for case in (*assessment.wrong, *assessment.unsure):
        assert case.path in page.text


def test_every_picture_chart_and_table_can_be_read_without_seeing_it(
    assessment: Assessment, page: Page
) -> None:
    assert len(page.all("img")) == 2 * len((*assessment.wrong, *assessment.unsure))
    assert all(picture["alt"] for picture in page.all("img"))
    charts = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(charts) == 2
    assert all(svg["aria-label"] for svg in charts)
    headers = page.all("th")
    assert headers
    assert all(header.get("scope") for header in headers)
    assert page.all("html")[0]["lang"] == "en"


def test_names_from_outside_are_text_and_not_markup(page: Page) -> None:
    assert "other <metal>" in page.text


@pytest.mark.parametrize(
    ("losses", "charts"), [((), 2), ((0.4,), 4), ((0.4, 0.3, 0.5), 4), ((0.0, 1e-9), 4)]
)
def test_learning_curves_are_drawn_where_the_training_is_told(
    assessment: Assessment, losses: tuple[float, ...], charts: int
) -> None:
    told = Page(render(replace(assessment, history=epochs(*losses))))
    drawn = [svg for svg in told.all("svg") if svg.get("role") == "img"]
    assert len(drawn) == charts
    assert ("kept: epoch 1" in told.text) == bool(losses)
    for line in told.all("polyline"):
        numbers = [float(n) for pair in str(line["points"]).split() for n in pair.split(",")]
        assert all(0 <= number <= 460 for number in numbers)
        assert len(numbers) >= 4


def test_what_a_person_should_look_at_in_the_images_is_listed(
    assessment: Assessment, page: Page
) -> None:
    assert f"Of all {assessment.look.images} images of the manifest" in page.text
    doubt = Doubt(
        path="a<b>.jpg",
        given="patches",
        likelier="crazing",
        probability=0.97,
        confident=True,
        margin=-0.9,
    )
    look = Look(
        images=500,
        doubts=(doubt,) * 102,
        alike=(Alike(paths=("c.jpg", "d.jpg"), parts=(Part.FIT, Part.TEST)),),
        mixed=(Mixed(path="e.jpg", label="patches", others=("crazing", "inclusion")),),
    )
    told = Page(render(replace(assessment, look=look))).text
    for words in (
        "a<b>.jpg patches likely crazing 97.0 %",
        "2 more are not listed here",
        "1 of them lie in more than one part, so that figures flatter the model",
        "c.jpg, d.jpg (fit, test)",
        "e.jpg: labelled patches, also crazing, inclusion",
    ):
        assert words in told
    nothing = Look(images=9, doubts=None, alike=(), mixed=())
    told = Page(render(replace(assessment, look=nothing))).text
    for words in ("too few to tell", "No two pictures are nearly", "No image has boxes of more"):
        assert words in told


def test_what_was_not_measured_is_said(assessment: Assessment) -> None:
    bare = replace(assessment, spoilt={}, foreign=None, pointing=None, wrong=())
    told = Page(render(bare)).text
    assert "Not measured here: it takes eighteen times as long" in told
    assert "Pictures of other things were not shown to it" in told
    assert "no image of this part has an annotation" in told
    assert "None: every image was recognised." in told


def test_figures_of_images_that_the_model_may_know_are_marked(assessment: Assessment) -> None:
    assert "not the manifest that the model was trained on" in Page(render(assessment)).text
    own = replace(assessment, fingerprint=assessment.metadata.manifest_sha256)
    assert "may have been in its training" not in Page(render(own)).text
    ancestors = {"manifest_sha256": own.fingerprint, "recipe": {"started_from": None}}
    for elsewhere in (False, True):
        if elsewhere:
            ancestors["recipe"] = {"started_from": {"manifest_sha256": "0", "recipe": {}}}
        began = replace(own.metadata, recipe={"started_from": ancestors})
        told = Page(render(replace(own, metadata=began))).text
        assert ("began with one that was trained on another manifest" in told) == elsewhere
    imported = {"imported": "model_best.pth"}
    trained_on = {"manifest_sha256": own.fingerprint, "recipe": imported}
    for recipe in (imported, {"started_from": trained_on}):
        told = Page(render(replace(own, metadata=replace(own.metadata, recipe=recipe)))).text
        assert "was trained elsewhere, and nothing tells on what" in told
    chosen_on = Page(render(replace(own, part=Part.SELECT))).text
    assert "This is not the test part" in chosen_on


def test_only_of_defects_alone_it_is_said_that_each_image_shows_one(assessment: Assessment) -> None:
    words = "The judged images each show a defect"
    assert words in Page(render(assessment)).text
    policy = replace(assessment.support.policy, normal_classes=("patches",))
    with_clean = replace(assessment, support=replace(assessment.support, policy=policy))
    assert words not in Page(render(with_clean)).text


def test_a_promise_that_the_held_out_images_cannot_keep_is_not_made(
    assessment: Assessment,
) -> None:
    rule = PassRule(
        threshold=0.9999, odds=9.2, defects=60, own=60, missed=0, promised=0.0487, kept=False
    )
    words = "beyond all held-out defects: they are too few to promise the policy's rate, and promised is 4.87 %."
    for kept in (True, False):
        support = replace(assessment.support, pass_rule=replace(rule, kept=kept))
        told = Page(render(replace(assessment, support=support))).text
        assert "passes from a confidence of 0.9999 on" in told
        assert (words in told) != kept


def test_a_report_is_small(assessment: Assessment, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "report.html"
    write(assessment, path)
    assert path.stat().st_size < 250_000
    assert path.read_text(encoding="utf-8") == render(assessment)


def test_a_report_that_no_disk_has_room_for_leaves_the_one_before(
    assessment: Assessment, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text("the one before")
    with no_file_larger(10_000), pytest.raises(OSError, match="File too large"):
        write(assessment, path)
    assert path.read_text() == "the one before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_is_written_through_a_link_to_the_file_that_it_names(
    assessment: Assessment, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (tmp_path / "report.html").symlink_to(shared / "model.html")
    write(assessment, tmp_path / "report.html")
    assert (tmp_path / "report.html").is_symlink()
    assert (shared / "model.html").read_text(encoding="utf-8") == render(assessment)
    assert list(shared.iterdir()) == [shared / "model.html"]
