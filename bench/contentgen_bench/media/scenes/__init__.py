"""Drawn scenes of the generated videos: places, people, light and camera; and those made to be difficult."""
