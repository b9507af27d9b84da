"""What every room stands on: errors, exact units, clock, ids, settings, database."""
