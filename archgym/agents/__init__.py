"""Search algorithms, one file each; every agent declares its hyperparameters as a design space."""
