"""Painters of the unseen sets: worlds of rectangles, water, crowds, screens, cel animation, and events."""
