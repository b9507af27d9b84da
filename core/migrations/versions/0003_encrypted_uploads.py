"""Versions that providers encrypted at home."""

from alembic import op
import sqlalchemy as sa

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "encrypted_uploads",
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("header", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["version"], ["asset_versions.id"], name=op.f("fk_encrypted_uploads_version")),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_encrypted_uploads")),
    )
