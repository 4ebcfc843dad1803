"""Read models commit with their checkpoints, so their app is where the log is."""

from eventsource_app.store.routing import LogRouter


class Router(LogRouter):
    app_labels = LogRouter.app_labels | {"projections"}
