"""Jobs over several assets."""

from alembic import op
import sqlalchemy as sa

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        table.add_column(sa.Column("joined", sa.Text(), nullable=False, server_default="[]"))
    with op.batch_alter_table("jobs") as table:
        table.alter_column("joined", server_default=None)
