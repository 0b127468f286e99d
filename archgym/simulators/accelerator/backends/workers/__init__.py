"""Programs that the Pythons of backends run: they know the standard library and their tool, and nothing of archgym."""
