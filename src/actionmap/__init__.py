"""actionmap: what a visitor does on a website becomes a webhook, exactly when an action map says so."""

from importlib.metadata import version as _version

__version__ = _version("actionmap")
