"""Kafka in: the poll loop, positions and rebalances, and records parsed into events."""
