"""Programs that run in the environments of backends: they import the standard library and their tool, and
nothing of archgym.
"""
