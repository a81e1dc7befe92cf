"""Sounds: reading, writing, resampling, analysing, trimming and levelling."""
