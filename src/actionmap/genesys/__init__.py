"""A Genesys tenant's definitions → ours: what maps one to one, what needs a decision, what cannot be.

Names of resources, fields and values are those of the Terraform provider ``genesyscloud`` (the schemas of
``journey_action_map``, ``journey_segment`` and ``integration_action``) and of the exports of data actions.
"""

from actionmap.genesys.reading import read
from actionmap.genesys.report import Report
from actionmap.genesys.tenant import Imported, import_tenant

__all__ = ["Imported", "Report", "import_tenant", "read"]
