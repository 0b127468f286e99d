"""Studies of kind "generalise": what policies design for contexts that they were not trained on."""
