"""The go-live check: would this action map really fire? A list of named checks, each failure with its fix.

What asks a running system (`golive.survey`, `golive.watch`) is imported by who runs one.
"""

from actionmap.golive.around import Consumption, Surroundings
from actionmap.golive.chain import active_maps, counted_lookups, origins_of
from actionmap.golive.check import Check, GoLive, Status
from actionmap.golive.every import check_each, check_golive
from actionmap.golive.report import as_junit

__all__ = [
    "Check",
    "Consumption",
    "GoLive",
    "Status",
    "Surroundings",
    "active_maps",
    "as_junit",
    "check_each",
    "check_golive",
    "counted_lookups",
    "origins_of",
]
