"""Evaluation videos of other kinds than the sets `tune` and `report`: other painters, another camera, real clips.

Nobody tunes detection on them.
"""
