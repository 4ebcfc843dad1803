"""A disaster, rehearsed: load, back up, keep writing, destroy, restore to a point in time, and let a judge look.

``python -m tests.drill`` (``make drill``) runs the scripts of ``deploy/postgresql`` on a throwaway server.
"""
