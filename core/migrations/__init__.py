"""Alembic migrations: the one way in which tables come to be."""
