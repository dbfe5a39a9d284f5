"""Optimizers whose hyperparameters follow schedules, or whose layers have rates of their own."""
