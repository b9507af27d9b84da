"""Jobs over several assets."""

import json

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
    # Plans that are still to be carried out say what such plans say now; those of ended jobs stay as their receipts bind them.
    jobs = sa.table("jobs", sa.column("id", sa.Text), sa.column("state", sa.Text), sa.column("plan", sa.Text))
    connection = op.get_bind()
    waiting = jobs.c.state.in_(["queued", "running", "cancelling"])
    for row in connection.execute(sa.select(jobs.c.id, jobs.c.plan).where(waiting)).all():
        plan = json.loads(row.plan)
        told = {"joined": [], "stored_blocks": plan["blocks"], **plan}
        written = json.dumps(told, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        connection.execute(sa.update(jobs).where(jobs.c.id == row.id).values(plan=written))
