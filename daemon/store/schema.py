"""The tables, as the code sees them. The views that reports rest on are made by the migrations."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    text,
)

metadata: Final = MetaData()

# The conditions of partial indexes. Queries repeat them as they stand here: SQLite takes a partial
# index only where it can see, without the bound values, that the query's rows are all in it.
STILL_THERE: Final = text("progress IN ('pending', 'left', 'gone', 'unseen')")
PENDING: Final = text("progress = 'pending'")
IN_FORCE: Final = text("undone_at IS NULL")
SAMPLED: Final = text("reason = 'sample'")
WAITING: Final = text("instructive IS NOT NULL")
ON_ITS_WAY: Final = text("moving_to IS NOT NULL")
UNDELIVERED: Final = text("state = 'waiting'")
KEPT: Final = text("progress IN ('moved', 'unseen') AND verdict IN ('pass', 'unreadable')")
"""Files in archive and quarantine, which may be deleted in time."""
ENDED: Final = text("progress IN ('left', 'deleted', 'gone')")
"""Images that have no file of ours."""
# These hold of every row. Without them SQLite, which keeps no statistics here, would take the index of a
# camera for any query that names one, also where it names an hour or a month.
ANY_IMAGE: Final = text("id > 0")
ANY_COUNT: Final = text("camera <> ''")

# SQLite gives an id by itself only to a column of the type INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")

image: Final = Table(
    "image",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("camera", Text, nullable=False),
    Column("filename", Text, nullable=False),
    # Text: an inode may need 64 bits without a sign, and a time after 2262 needs more than 63.
    Column("inode", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("captured_at", Text, nullable=False),
    Column("recorded_at", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("predicted_class", Text),
    Column("confidence", Float),
    Column("novelty", Float),
    Column("model_version", Text),
    Column("notes", Text),
    Column("action", Text, nullable=False),
    Column("progress", Text, nullable=False),
    Column("target", Text),
    Column("path", Text),
    # How much a label of it would teach; NULL once it has one, and for what nobody is to look at.
    Column("instructive", Float),
    Column("brightness", Float),
    Column("sharpness", Float),
    sqlite_autoincrement=True,  # an id stands in file names: it is never given twice
)
# Once a file has left the drop folder its inode may be used again, by a file with the same name,
# size and restored time: the identity is unique among the files that may still lie there. A `gone` or
# `unseen` file may: on a share that was away.
Index(
    "image_delivery",
    image.c.camera,
    image.c.filename,
    image.c.inode,
    image.c.size,
    image.c.mtime_ns,
    unique=True,
    sqlite_where=STILL_THERE,
    postgresql_where=STILL_THERE,
)
Index("image_target", image.c.target, unique=True)
Index("image_pending", image.c.id, sqlite_where=PENDING, postgresql_where=PENDING)
Index("image_captured_at", image.c.captured_at)
Index("image_content", image.c.sha256)
Index("image_kept", image.c.verdict, image.c.id, sqlite_where=KEPT, postgresql_where=KEPT)
Index("image_ended", image.c.id, sqlite_where=ENDED, postgresql_where=ENDED)
Index(
    "image_camera",
    image.c.camera,
    image.c.id,
    sqlite_where=ANY_IMAGE,
    postgresql_where=ANY_IMAGE,
)

Index(
    "image_waiting",
    image.c.instructive,
    image.c.id,
    sqlite_where=WAITING,
    postgresql_where=WAITING,
)

# With what a report asks of them: one image in a hundred, found without reading the others.
Index(
    "image_sampled",
    image.c.captured_at,
    image.c.camera,
    image.c.instructive,
    sqlite_where=SAMPLED,
    postgresql_where=SAMPLED,
)

tally: Final = Table(
    "tally",
    metadata,
    Column("camera", Text, nullable=False),
    Column("hour", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("predicted_class", Text, nullable=False),  # '' where there is none: it is in the key
    Column("images", BigInteger, nullable=False),
    PrimaryKeyConstraint("hour", "camera", "verdict", "predicted_class"),
)
Index("tally_day", func.substr(tally.c.hour, 1, 10), tally.c.camera)
Index("tally_camera", tally.c.camera, sqlite_where=ANY_COUNT, postgresql_where=ANY_COUNT)

camera_day: Final = Table(
    "camera_day",
    metadata,
    Column("day", Text, nullable=False),
    Column("camera", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("predicted_class", Text, nullable=False),
    # Of the picture that this model sees, in pixels.
    Column("side", Integer, nullable=False),
    Column("images", BigInteger, nullable=False),
    Column("unknown", BigInteger, nullable=False),
    # Sums over the images.
    Column("brightness", Float, nullable=False),
    Column("sharpness", Float, nullable=False),
    Column("novelty", Float, nullable=False),
    PrimaryKeyConstraint("day", "camera", "model_version", "predicted_class"),
)

drift_reference: Final = Table(
    "drift_reference",
    metadata,
    Column("camera", Text, primary_key=True),
    # Days before this one are no reference for the camera's later ones.
    Column("since", Text, nullable=False),
)

label: Final = Table(
    "label",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("image_id", BigInteger, ForeignKey("image.id"), nullable=False),
    Column("label", Text, nullable=False),
    Column("labelled_by", Text, nullable=False),
    Column("labelled_at", Text, nullable=False),
    Column("undone_at", Text),
    # Where the image's file is on its way to; NULL once it is there.
    Column("moving_to", Text),
    sqlite_autoincrement=True,
)
Index(
    "label_in_force",
    label.c.image_id,
    unique=True,
    sqlite_where=IN_FORCE,
    postgresql_where=IN_FORCE,
)
Index("label_on_its_way", label.c.id, sqlite_where=ON_ITS_WAY, postgresql_where=ON_ITS_WAY)
Index("label_image", label.c.image_id)  # else to delete an image reads every label

label_tally: Final = Table(
    "label_tally",
    metadata,
    Column("hour", Text, nullable=False),
    Column("camera", Text, nullable=False),
    Column("labelled_by", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("predicted_class", Text, nullable=False),  # '' where there is none: it is in the key
    Column("label", Text, nullable=False),
    Column("labels", BigInteger, nullable=False),
    PrimaryKeyConstraint("hour", "camera", "labelled_by", "verdict", "predicted_class", "label"),
)

review_file: Final = Table(
    "review_file",
    metadata,
    Column("path", Text, primary_key=True),
    # NULL where a file is missing.
    Column("inode", Text),
    Column("size", BigInteger),
    Column("mtime_ns", Text),
    Column("sha256", Text),
    # No foreign key: the record of an image may be deleted in time, the file is somebody else's.
    Column("image_id", BigInteger),
    Column("problem", Text),
    Column("reason", Text),
    Column("noticed_at", Text, nullable=False),
)
Index("review_file_image", review_file.c.image_id)

model: Final = Table(
    "model",
    metadata,
    Column("version", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("promoted_at", Text),
    Column("trained_on", Text, nullable=False),
    Column("metrics", Text, nullable=False),
    Column("reason", Text),
)

web_user: Final = Table(
    "web_user",
    metadata,
    Column("name", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("added_at", Text, nullable=False),
)

web_session: Final = Table(
    "web_session",
    metadata,
    # Not the token: who reads the database could come in with it.
    Column("token_sha256", Text, primary_key=True),
    Column("user_name", Text, ForeignKey("web_user.name"), nullable=False),
    Column("begun_at", Text, nullable=False),
    Column("ends_at", Text, nullable=False),
)

audit: Final = Table(
    "audit",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("at", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("deed", Text, nullable=False),
    Column("what", Text, nullable=False),
    sqlite_autoincrement=True,
)

retraining_run: Final = Table(
    "retraining_run",
    metadata,
    Column("id", _Id, primary_key=True),
    # Its folder in state_dir/runs; NULL where a due time needed no run.
    Column("name", Text),
    Column("state", Text, nullable=False),
    Column("started_at", Text, nullable=False),
    Column("ended_at", Text),
    # Due times up to this moment are met; NULL for a run that was asked for.
    Column("handled_until", Text),
    Column("reason", Text),
    Column("figures", Text),
    # The newest label that there was; NULL for a run of an older version.
    Column("labels_until", BigInteger),
    sqlite_autoincrement=True,
)

alarm_told: Final = Table(
    "alarm_told",
    metadata,
    Column("alarm", Text, primary_key=True),
    # JSON: what the alarm's last message said, by the name of each thing that held.
    Column("holds", Text, nullable=False),
    Column("told_at", Text, nullable=False),
)

alarm_message: Final = Table(
    "alarm_message",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("alarm", Text, nullable=False),
    # Not the address, which may hold a secret: `config.addresses.Address.key`.
    Column("address", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    # waiting, delivered or given_up.
    Column("state", Text, nullable=False),
    Column("ended_at", Text),
    Column("error", Text),
    sqlite_autoincrement=True,
)
Index(
    "alarm_message_undelivered",
    alarm_message.c.address,
    alarm_message.c.id,
    sqlite_where=UNDELIVERED,
    postgresql_where=UNDELIVERED,
)
