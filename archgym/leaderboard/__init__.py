"""The leaderboard: entries of agents on a suite of tasks, each verified by repeating it."""
