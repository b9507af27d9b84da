"""What providers encrypt for one job."""

from alembic import op
import sqlalchemy as sa

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_contributions",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("header", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["asset"], ["assets.asset"], name=op.f("fk_job_contributions_asset")),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_job_contributions_job")),
        sa.PrimaryKeyConstraint("job", "asset", name=op.f("pk_job_contributions")),
    )
