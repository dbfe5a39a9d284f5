"""The learning-rate schedules, one module per family."""
