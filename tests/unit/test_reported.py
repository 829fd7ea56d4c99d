"""What an integration is, told from what was noted of it, as it is defined now."""

from actionmap.catalog.models import Integration
from actionmap.deliver.reported import Editions, edition_of, reported
from actionmap.store.integrations import Hold, IntegrationHealth, IntegrationState, Probed

NOW, FORMER = "2-now", "1-former"


def told(hold: Hold | None = None, probed: Probed | None = None, *, active: bool = True, **health: object) -> tuple:
    state = IntegrationState(hold, IntegrationHealth(**health), probed)
    found = reported(state, active=active, edition=NOW)
    return found.state, found.since


def test_what_is_switched_off_or_paused_by_a_person_is_inactive_whatever_else_is_known() -> None:
    assert told(active=False, proven_as=NOW, proven_at=3) == ("inactive", None)
    assert told(Hold("paused", 7), Probed(8, NOW, "refused"), failing_since=5) == ("inactive", 7)


def test_what_failed_for_days_or_fails_or_is_not_reached_is_in_error() -> None:
    assert told(Hold("disabled", 7)) == ("error", 7)
    assert told(failing_since=5, failed_as=NOW, proven_as=NOW, proven_at=3) == ("error", 5)
    assert told(failing_since=5) == ("error", 5)
    assert told(None, Probed(8, NOW, "refused"), proven_as=NOW, proven_at=3) == ("error", 8)


def test_it_is_active_once_an_attempt_or_a_probe_has_succeeded() -> None:
    assert told(proven_as=NOW, proven_at=3) == ("active", 3)
    assert told(None, Probed(8, NOW)) == ("active", 8)
    assert told(None, Probed(8, NOW), proven_as=NOW, proven_at=3) == ("active", 3)
    assert told(None, Probed(2, NOW, "refused"), proven_as=NOW, proven_at=3) == ("active", 3)


def test_until_then_it_is_activating_and_what_was_noted_of_another_edition_counts_no_more() -> None:
    assert told() == ("activating", None)
    assert told(None, Probed(8, FORMER, "refused"), failing_since=5, failed_as=FORMER) == ("activating", None)
    assert told(None, Probed(8, FORMER), proven_as=FORMER, proven_at=3) == ("activating", None)


def integration(**given: object) -> Integration:
    return Integration.model_validate({"name": "crm", "baseUrl": "https://crm.example.com", **given})


def test_another_version_and_a_namesake_are_other_editions() -> None:
    same = edition_of(integration(), 1)
    assert edition_of(integration(), 1) == same
    assert len({same, edition_of(integration(), 2), edition_of(integration(baseUrl="https://x.example.com"), 1)}) == 3


def test_the_edition_in_force_is_told_by_name() -> None:
    class Holds:
        definitions: dict[str, Integration] = {}
        versions: dict[str, int] = {}

    holds = Holds()
    edition = Editions(holds)
    assert edition("crm") == ""
    holds.definitions["Integration/crm"], holds.versions["Integration/crm"] = integration(), 3
    assert edition("crm") == edition_of(integration(), 3)
    holds.versions["Integration/crm"] = 4
    assert edition("crm") == edition_of(integration(), 4)
    holds.definitions["Integration/crm"] = integration(active=False)
    assert edition("crm") == edition_of(integration(active=False), 4)
