"""Registered tables: declarations, catalogue, ingest into encrypted blocks, mock data."""
