"""Simulated attackers and innocent bulk work against real sets: who is noticed, and who is accused wrongly."""
