"""Pictures in the bin, failures that were put away, short codes for a second device."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("pictures", sa.Column("binned_at", sa.Float, nullable=True))
    op.add_column("jobs", sa.Column("put_away_at", sa.Float, nullable=True))
    op.create_table(
        "codes",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("until", sa.Float, nullable=False),
    )
    op.create_index("codes_by_owner", "codes", ["owner"])
