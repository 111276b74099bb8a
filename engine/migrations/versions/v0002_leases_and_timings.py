"""Who runs a job and whether they live, the order of an owner's jobs, what is wanted of a run; how long pictures took."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("place", sa.Float, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("holder", sa.String(80), nullable=True))
    op.add_column("jobs", sa.Column("beat", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("crashes", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("wish", sa.String(16), nullable=True))
    op.add_column("jobs", sa.Column("skipped", sa.JSON, nullable=True))
    op.execute("UPDATE jobs SET place = created_at")
    op.create_table(
        "timings",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model_hash", sa.String(64), nullable=False),
        sa.Column("device", sa.String(80), nullable=False),
        sa.Column("traits", sa.JSON, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_index("timings_by_model", "timings", ["model_hash", "device", "created_at"])
