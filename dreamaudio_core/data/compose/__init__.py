"""Composed training items: what is drawn, worded, timed and mixed."""
