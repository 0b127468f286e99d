"""The lottery: which conclusions about agents and their hyperparameters the runs of a study support."""
