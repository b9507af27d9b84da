"""Runs code that nobody trusts, and hands back bytes. Knows no database, user or budget."""
