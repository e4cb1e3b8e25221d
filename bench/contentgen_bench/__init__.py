"""Benchmarks; each writes rows of {figure, value, unit, goal, holds} into `build/bench/`."""
