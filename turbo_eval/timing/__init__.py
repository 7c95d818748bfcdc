"""How long does a clip take? See measure.py for the method."""
