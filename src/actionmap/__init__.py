"""actionmap: what a visitor does on a website becomes a webhook, exactly when an action map says so."""
