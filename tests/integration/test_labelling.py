"""Labels: recorded, the file brought to its class, taken back, and never over somebody else's."""

from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from builders import surface_file
from pages import Page, open_page
from records import rows

from daemon.names import from_text
from daemon.process.control import RefusedError
from daemon.review.labelling import ChangedSinceError, Labeller
from daemon.store import labels, queueing
from daemon.store.queueing import Filter
from daemon.web.app import create_app
from models.taxonomy import Verdict


def path_of(page: Page, image_id: int) -> Path:
    ((path,),) = rows(page.database, "SELECT path FROM image WHERE id = ?", image_id)
    return Path(from_text(path))


def waiting(page: Page, **wanted: str) -> list[int]:
    return [image_id for _, image_id in queueing.queue(page.database, Filter(**wanted))]


def test_a_label_brings_the_file_to_its_class_and_the_undo_brings_it_back(page: Page) -> None:
    image_id = page.add_image(1)
    before = path_of(page, image_id)
    label_id = page.labeller.label(image_id, "patches", "anna", seen=0)
    labelled = page.settings.review_folder / "labelled" / "patches" / before.name
    assert path_of(page, image_id) == labelled
    assert labelled.read_bytes() == surface_file(seed=1)
    assert not before.exists()
    assert waiting(page) == []
    assert rows(page.database, "SELECT label, labelled_by, agreed FROM labels") == [
        ("patches", "anna", 0)
    ]
    page.labeller.undo(image_id, "otto", seen=label_id)
    assert path_of(page, image_id) == before
    assert before.read_bytes() == surface_file(seed=1)
    assert not labelled.exists()
    assert waiting(page) == [image_id]
    assert rows(page.database, "SELECT * FROM labels") == []


def test_who_changes_a_mind_leaves_one_label_in_force_and_the_whole_history(page: Page) -> None:
    image_id = page.add_image(1)
    first = page.labeller.label(image_id, "patches", "anna", seen=0)
    page.labeller.label(image_id, "rolled-in_scale", "anna", seen=first)
    (now,) = labels.labels_in_force(page.database)
    assert (now.label, now.path) == ("rolled-in_scale", path_of(page, image_id))
    assert path_of(page, image_id).is_file()
    past = labels.history(page.database, image_id)
    assert [(each.label, each.undone_at is None) for each in past] == [
        ("patches", False),
        ("rolled-in_scale", True),
    ]
    assert labels.count_new_since(page.database, "2026-01-01T00:00:00Z") == 1
    assert labels.count_new_since(page.database, "2027-01-01T00:00:00Z") == 0


@pytest.mark.fault(63)
def test_the_second_of_two_people_is_told_and_overwrites_nothing(page: Page) -> None:
    image_id = page.add_image(1)
    first = page.labeller.label(image_id, "patches", "anna", seen=0)
    with pytest.raises(ChangedSinceError, match=r"anna labelled it patches$"):
        page.labeller.label(image_id, "crazing", "otto", seen=0)
    with pytest.raises(ChangedSinceError):
        page.labeller.undo(image_id, "otto", seen=first + 1)
    page.labeller.undo(image_id, "anna", seen=first)
    with pytest.raises(ChangedSinceError, match="taken back"):
        page.labeller.label(image_id, "crazing", "otto", seen=first)
    with pytest.raises(RefusedError, match="no label"):
        page.labeller.undo(image_id, "otto", seen=0)
    page.labeller.label(image_id, "crazing", "otto", seen=None)


@pytest.mark.parametrize("name", [r"\x2e\x2e\x2f\x2e\x2e\x2fout", r"\x2ftmp", r"\x00", r"\x41"])
def test_a_class_that_stands_for_a_path_moves_no_file(page: Page, name: str) -> None:
    """A folder's name is kept as text in which other characters may be written as numbers."""
    image_id = page.add_image(1)
    before = path_of(page, image_id)
    anna = page.logged_in("anna")
    answer = anna.post(f"/api/inspections/{image_id}/label", json={"label": name, "seen": 0})
    assert answer.status_code == 409
    assert "cannot be a class" in answer.json()["detail"]
    assert path_of(page, image_id) == before
    assert before.read_bytes() == surface_file(seed=1)
    assert rows(page.database, "SELECT * FROM label") == []
    page.labeller.finish_if_due()  # as the service does at its start


@pytest.mark.parametrize(
    ("name", "reads_like"),
    [
        ("no defect", "no_defect"),
        ("Rolled in scale", "rolled-in_scale"),
        ("Edge_Crack", "edge crack"),
    ],
)
def test_a_class_that_reads_like_another_is_not_made(
    page: Page, name: str, reads_like: str
) -> None:
    image_id, other = page.add_image(1), page.add_image(2)
    page.labeller.label(other, "edge crack", "otto", seen=0)
    with pytest.raises(RefusedError, match=f"reads like the class {reads_like}:"):
        page.labeller.label(image_id, name, "anna", seen=0)
    page.labeller.label(image_id, reads_like, "anna", seen=0)
    assert not (page.settings.review_folder / "labelled" / name).exists()


def test_a_folder_of_the_servers_own_is_no_class(page: Page) -> None:
    image_id = page.add_image(1)
    for own in ("@eaDir", "lost+found", ".snapshot", "burr"):
        (page.settings.review_folder / "labelled" / own).mkdir(parents=True)
    assert page.labeller.names()[-1] == "burr"
    with pytest.raises(RefusedError, match="cannot be a class"):
        page.labeller.label(image_id, "@eaDir", "anna", seen=0)


def test_what_cannot_be_labelled_is_refused_in_words(page: Page) -> None:
    image_id = page.add_image(1)
    for name in ("", " a", "a/b", "..", ".hidden", "a\nb", "unknown", "x" * 65, "ÿ" * 200):
        with pytest.raises(RefusedError, match="cannot be a class"):
            page.labeller.label(image_id, name, "anna", seen=0)
    with pytest.raises(RefusedError, match="no image 99"):
        page.labeller.label(99, "patches", "anna", seen=0)
    unreadable = page.add_image(
        2, verdict=Verdict.UNREADABLE, predicted_class=None, reason="truncated", confidence=None
    )
    with pytest.raises(RefusedError, match="not in review"):
        page.labeller.label(unreadable, "patches", "anna", seen=0)
    path_of(page, image_id).unlink()
    with pytest.raises(RefusedError, match="missing"):
        page.labeller.label(image_id, "patches", "anna", seen=0)
    assert rows(page.database, "SELECT * FROM label") == []


def test_a_label_and_its_entry_in_the_audit_trail_are_recorded_together_or_not_at_all(
    page: Page,
) -> None:
    image_id, anna = page.add_image(1), page.logged_in("anna")
    before = path_of(page, image_id)
    trail = "SELECT who, deed, what, address FROM audit WHERE deed IN ('label', 'undo') ORDER BY id"
    full = "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no room'); END"

    def post(what: str, seen: int) -> httpx.Response:
        document = {"seen": seen, **({"label": "patches"} if what == "label" else {})}
        return anna.post(f"/api/inspections/{image_id}/{what}", json=document)

    def execute(statement: str) -> None:
        with page.database.writing() as connection:
            connection.exec_driver_sql(statement)

    execute(full)
    assert post("label", 0).status_code == 503
    assert rows(page.database, "SELECT * FROM label") == []
    assert path_of(page, image_id) == before
    execute("DROP TRIGGER full")
    label_id = post("label", 0).json()["label_id"]
    execute(full)
    assert post("undo", label_id).status_code == 503
    assert rows(page.database, "SELECT label FROM labels") == [("patches",)]
    execute("DROP TRIGGER full")
    assert post("undo", label_id).status_code == 200
    assert rows(page.database, trail) == [
        ("anna", "label", f"image {image_id}: patches", "127.0.0.1"),
        ("anna", "undo", f"image {image_id}", "127.0.0.1"),
    ]


def test_several_labels_are_taken_back_by_one_request_and_what_is_refused_holds_up_no_other(
    page: Page,
) -> None:
    anna = page.logged_in("anna")
    ids = [page.add_image(number, data=b"%d" % number) for number in (1, 2, 3)]
    before = [path_of(page, each) for each in ids]
    wanted = [{"id": each, "seen": 0} for each in ids]
    given = anna.post("/api/labels", json={"label": "patches", "images": wanted}).json()["done"]
    page.labeller.label(ids[1], "crazing", "otto", seen=None)
    undo = {"images": [{"id": each["id"], "seen": each["label_id"]} for each in given]}
    came = anna.post("/api/labels/undo", json=undo).json()
    assert came["done"] == [ids[0], ids[2]]
    (refused,) = came["refused"]
    assert refused["id"] == ids[1]
    assert "otto labelled it crazing" in refused["detail"]
    assert rows(page.database, "SELECT image_id, label FROM labels") == [(ids[1], "crazing")]
    assert [path_of(page, each) for each in (ids[0], ids[2])] == [before[0], before[2]]
    trail = "SELECT who, what FROM audit WHERE deed = 'undo' ORDER BY id"
    assert rows(page.database, trail) == [("anna", f"image {each}") for each in (ids[0], ids[2])]


@pytest.mark.fault(62)
def test_a_kill_between_the_record_and_the_move_is_made_up_for(page: Page) -> None:
    image_id = page.add_image(1)
    before = path_of(page, image_id)
    target = page.settings.review_folder / "labelled" / "patches" / before.name
    labels.put_label(
        page.database, image_id, "patches", "anna", seen=0, target=target, now=page.now
    )
    assert before.exists()
    page.labeller.finish_if_due()
    assert path_of(page, image_id) == target
    assert target.exists()
    assert not before.exists()
    assert labels.relocations(page.database) == []


@pytest.mark.fault(62)
def test_a_file_that_cannot_be_moved_now_is_moved_when_it_can_be(page: Page) -> None:
    image_id = page.add_image(1)
    labelled = page.settings.review_folder / "labelled"
    labelled.write_text("a file where a folder should be")
    label_id = page.labeller.label(image_id, "patches", "anna", seen=0)
    assert label_id
    assert "could not be moved" in page.desk.health.troubles()["labelled files"]
    assert path_of(page, image_id).is_file()
    labelled.unlink()
    page.labeller.finish_if_due()  # not yet: it was tried just now
    page.labeller.undo(image_id, "anna", seen=label_id)
    page.labeller.label(image_id, "patches", "anna", seen=0)
    assert path_of(page, image_id).parent == labelled / "patches"


@pytest.mark.fault(62)
def test_however_many_files_could_not_be_moved_all_of_them_are_once_they_can_be(page: Page) -> None:
    many = 203  # they are read 200 at a time
    ids = [page.add_image(number, data=b"%d" % number) for number in range(1, many + 1)]
    targets = {}
    for image_id in ids:
        before = path_of(page, image_id)
        targets[image_id] = page.settings.review_folder / "labelled" / "patches" / before.name
        labels.put_label(
            page.database,
            image_id,
            "patches",
            "anna",
            seen=0,
            target=targets[image_id],
            now=page.now,
        )
    page.labeller.finish_if_due()
    assert {image_id: path_of(page, image_id) for image_id in ids} == targets
    assert all(target.is_file() for target in targets.values())
    assert labels.relocations(page.database) == []


@pytest.mark.fault(62)
def test_a_label_that_is_taken_back_while_the_share_is_away_stays_taken_back(page: Page) -> None:
    image_id = page.add_image(1)
    before, review = path_of(page, image_id), page.settings.review_folder
    label_id = page.labeller.label(image_id, "patches", "anna", seen=0)
    away = review.rename(review.with_name("away"))
    review.mkdir()  # the bare mount point
    page.labeller.undo(image_id, "anna", seen=label_id)
    assert list(review.iterdir()) == [], "no folder is made where the share belongs"
    assert "neither to_check nor labelled" in page.desk.health.troubles()["labelled files"]
    review.rmdir()
    away.rename(review)
    Labeller(
        page.settings, database=page.database, health=page.desk.health, clock=lambda: page.now
    ).finish_if_due()
    assert page.desk.health.troubles() == {}
    assert rows(page.database, "SELECT label FROM labels") == []
    assert path_of(page, image_id) == before
    assert before.read_bytes() == surface_file(seed=1)


@pytest.mark.fault(22)
def test_a_label_given_after_an_undo_that_could_move_nothing_stands(page: Page) -> None:
    image_id = page.add_image(1)
    first = path_of(page, image_id)
    label_id = page.labeller.label(image_id, "patches", "anna", seen=0)
    scratches = page.settings.review_folder / "labelled" / "scratches"
    first.parent.rmdir()
    for folder in (first.parent, scratches):
        folder.write_text("a file where a folder should be")
    page.labeller.undo(image_id, "anna", seen=label_id)
    page.labeller.label(image_id, "scratches", "eva", seen=0)
    for folder in (first.parent, scratches):
        folder.unlink()
    Labeller(
        page.settings, database=page.database, health=page.desk.health, clock=lambda: page.now
    ).finish_if_due()
    assert path_of(page, image_id) == scratches / first.name
    assert path_of(page, image_id).is_file()
    assert not first.exists()
    assert labels.relocations(page.database) == []


def test_a_strangers_file_of_the_same_name_is_kept(page: Page) -> None:
    image_id = page.add_image(1)
    stranger = page.settings.review_folder / "labelled/patches" / path_of(page, image_id).name
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"somebody else's")
    page.labeller.label(image_id, "patches", "anna", seen=0)
    assert stranger.read_bytes() == b"somebody else's"
    assert path_of(page, image_id).read_bytes() == surface_file(seed=1)


def test_a_day_of_the_queue_is_one_of_the_plants(tmp_path: Path, model: Path) -> None:
    with open_page(tmp_path, model, open_on_loopback=True) as page:
        settings = page.settings.model_copy(update={"time_zone": "Pacific/Auckland"})
        page.app = create_app(replace(page.desk, settings=settings))
        browser = page.browser()
        evening, next_day = page.add_image(1), page.add_image(3601)  # 10:00 and 11:00 UTC

        def waiting_on(day: str) -> list[int]:
            found = browser.get(f"/api/queue?day={day}").json()
            return [image["id"] for image in found["images"]]

        assert waiting_on("2026-03-02") == [evening]
        assert waiting_on("2026-03-03") == [next_day]
        assert browser.get("/api/queue?day=2026-02-31").status_code == 422


def test_the_most_instructive_comes_first_and_filters_hold(page: Page) -> None:
    sure = page.add_image(1, confidence=0.99, verdict=Verdict.DEFECT, reason="confident")
    unsure = page.add_image(2, confidence=0.4)
    unknown = page.add_image(3, confidence=0.9, reason="unknown", predicted_class="patches")
    side = page.add_image(4, confidence=0.6, camera="side")
    assert waiting(page) == [unknown, unsure, side, sure]
    assert waiting(page, camera="side") == [side]
    assert waiting(page, class_name="unknown") == [unknown]
    assert waiting(page, class_name="scratches") == [unsure, side, sure]
    assert waiting(page, reason="confident") == [sure]
    assert waiting(page, since="2026-03-02T10:00:03Z") == [unknown, side]
    assert waiting(page, until="2026-03-02T10:00:03Z") == [unsure, sure]
    assert queueing.count_waiting(page.database, Filter(camera="side"), most=9) == 1
    assert queueing.count_waiting(page.database, Filter(), most=3) == 3
    had = queueing.queue(page.database, Filter(), limit=2)
    rest = queueing.queue(page.database, Filter(), after=had[-1])
    assert [image_id for _, image_id in rest] == [side, sure]


def test_the_queue_is_read_by_its_index(page: Page) -> None:
    """Page after page of a hundred thousand, without sorting them: see the benchmark for times."""
    statement = str(
        queueing.queue_statement(Filter(), after=(0.5, 7), limit=24).compile(
            compile_kwargs={"literal_binds": True}
        )
    )
    plan = str(rows(page.database, f"EXPLAIN QUERY PLAN {statement}"))
    assert "USING INDEX image_waiting" in plan
    assert "TEMP B-TREE" not in plan


def test_a_class_keeps_its_number_key_whatever_is_new_or_taken_back(page: Page) -> None:
    known = page.labeller.names()
    scale, burr, pit = (page.add_image(number) for number in (1, 2, 3))
    page.labeller.label(scale, "scale", "anna", seen=0)
    assert page.labeller.names() == [*known, "scale"]
    (page.settings.review_folder / "labelled" / "arc").mkdir()
    page.labeller.label(burr, "burr", "otto", seen=0)
    page.labeller.label(pit, "scale", "otto", seen=0)
    assert page.labeller.names() == [*known, "scale", "burr", "arc"]
    page.labeller.undo(scale, "anna", seen=None)
    assert page.labeller.names() == [*known, "scale", "burr", "arc"]
    page.labeller.undo(pit, "otto", seen=None)  # its folder is there still
    assert page.labeller.names() == [*known, "scale", "burr", "arc"]
