"""Optimizers whose hyperparameters follow schedules."""
