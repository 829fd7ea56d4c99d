"""Delivery → Attempt: leases what is owed, sends it, and says what becomes of it."""
