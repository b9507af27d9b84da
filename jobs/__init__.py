"""What is run, when, and in which order: the job model, planning, the one write path, scheduling, the reconciler."""
