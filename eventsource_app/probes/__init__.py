"""The three probes of the web process, answered from rows; see ``eventsource_app.subscriptions.health``."""
