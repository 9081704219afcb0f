"""A line with something of all that reports tell."""

import json
from pathlib import Path

from records import NOW, finding, nanoseconds, record, settle
from sqlalchemy import insert

from daemon.store.database import Database
from daemon.store.labels import put_label, undo_label
from daemon.store.schema import model as models

EVIL = r"=HYPERLINK($\1$)"  # to matplotlib a formula too


def fill(store: Database) -> None:
    number = 0
    findings = []
    for day in range(1, 31):
        for at in range(40):
            number += 1
            bad = at < (25 if day == 20 else 4)
            name = EVIL if at == 0 else "scratches" if at % 2 else "patches"
            findings.append(
                finding(
                    number,
                    "defect" if bad else "pass",
                    camera=("top-1", "bottom-1")[at % 2],
                    mtime_ns=nanoseconds(f"2026-06-{day:02d}T{(at // 2):02d}:30:00"),
                    predicted_class=name if bad else "no_defect",
                )
            )
    intents = record(store, *findings)
    settle(store, *intents)
    defects = [
        intent.image_id
        for intent, each in zip(intents, findings, strict=True)
        if each.verdict.value == "defect"
    ]
    for at, image_id in enumerate(defects[:12]):
        name = "scratches" if at < 8 else "patches"
        put_label(
            store,
            image_id,
            name,
            ("anna", "otto")[at % 2],
            seen=0,
            target=Path(f"/labelled/{image_id}.jpg"),
            now=NOW,
        )
    undo_label(store, defects[0], seen=1, target=Path("/to_check/1.jpg"), now=NOW)
    rows = [
        ("20260601-000000-0000abcd", "retired", '{"test": {"accuracy": 0.95}}', None),
        ("m2", "current", json.dumps({"test": {"accuracy": 0.97}, "run": RUN}), "no worse"),
        ("m3", "rejected", "{}", "worse on scratches"),
    ]
    with store.writing() as connection:
        connection.execute(
            insert(models),
            [
                {
                    "version": version,
                    "status": status,
                    "created_at": f"2026-06-0{at}T00:00:00Z",
                    "promoted_at": None,
                    "trained_on": "f" * 64,
                    "metrics": metrics,
                    "reason": reason,
                }
                for at, (version, status, metrics, reason) in enumerate(rows, start=1)
            ],
        )


RUN = {
    "normal_classes": ["no_defect"],
    "candidate": {
        "held_out": {
            "scratches": {"images": 10, "right": 9, "passed": 1},
            "no_defect": {"images": 10, "right": 10, "passed": 8},
        }
    },
    "current": {
        "held_out": {
            "scratches": {"images": 10, "right": 7, "passed": 0},
            "no_defect": {"images": 10, "right": 0, "passed": 0},
        }
    },
    "learning": {"scratches": {"images": 40, "right": 30, "right_by_half": 26}},
}
