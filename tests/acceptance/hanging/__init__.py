"""A Django app whose only subscription has a handler that never comes back."""
