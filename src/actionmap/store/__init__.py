"""Redis: what must survive a restart. Protocols, the Redis implementation and its in-memory twin."""
