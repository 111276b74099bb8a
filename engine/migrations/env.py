"""What Alembic runs. The connection comes from `engine.store`, whose transaction holds all steps or none."""

from __future__ import annotations

from alembic import context

from engine.store import tables

context.configure(connection=context.config.attributes["connection"], target_metadata=tables)
context.run_migrations()
