"""Benchmarks: what opsctl costs beside the same work done without it, both measured in one run."""
