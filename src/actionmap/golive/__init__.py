"""The go-live check: would this action map really fire? A list of named checks, each failure with its fix."""

from actionmap.golive.around import Consumption, Surroundings
from actionmap.golive.chain import active_maps, counted_lookups, origins_of
from actionmap.golive.check import Check, GoLive, Status
from actionmap.golive.every import check_each, check_golive
from actionmap.golive.report import as_junit
from actionmap.golive.survey import Survey
from actionmap.golive.watch import Watch

__all__ = [
    "Check",
    "Consumption",
    "GoLive",
    "Status",
    "Surroundings",
    "Survey",
    "Watch",
    "active_maps",
    "as_junit",
    "check_each",
    "check_golive",
    "counted_lookups",
    "origins_of",
]
