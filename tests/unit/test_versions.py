"""Versions and entries of the audit as they are stored."""

import json

from actionmap.catalog.versions import decode_audit, decode_stored


def test_what_a_newer_version_of_actionmap_has_done_is_read_by_its_word():
    entry = {"at": 1, "by": "ann", "action": "embargo", "kind": "Webhook", "name": "w", "company": "default"}
    assert decode_audit(json.dumps(entry).encode()).action == "embargo"
    stored = {"version": 2, "kind": "Webhook", "definition": {}, "action": "embargo"}
    assert decode_stored(json.dumps(stored).encode()).action == "embargo"
