"""Benchmarks: each figure is set against a baseline that the same run measures."""
