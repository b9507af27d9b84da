"""Alembic's entry point: runs inside the connection that core.migrate opened."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
