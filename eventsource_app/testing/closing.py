"""What this library keeps open beside Django's own connections would keep a test database from being dropped."""

from eventsource_app.store.notifications import close_wake_ups


def close_own_connections() -> None:
    """Close the connections that wake workers and that wait for read models; each has a thread of its own."""
    # Only now: pytest's `-p` loads this before Django is set up.
    from eventsource_app.http.wait_for import watcher

    close_wake_ups()
    watcher.close()
