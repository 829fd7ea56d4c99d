"""People looking in and changing things: REST for definitions, health, metrics."""
