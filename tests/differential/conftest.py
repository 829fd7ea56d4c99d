"""How many random worlds each differential test looks at: DIFFERENTIAL_EXAMPLES of them."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "differential",
    deadline=None,
    max_examples=int(os.environ.get("DIFFERENTIAL_EXAMPLES", "60")),
    suppress_health_check=[HealthCheck.too_slow],
)
