"""Definitions: models, YAML, checks, and their compilation into one immutable Rulebook."""
