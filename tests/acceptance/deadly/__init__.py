"""A Django app whose handlers kill their process, or never come back, over one event."""
