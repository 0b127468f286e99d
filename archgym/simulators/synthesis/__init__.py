"""Logic synthesis: passes of ABC over circuits, tabulated and live."""
