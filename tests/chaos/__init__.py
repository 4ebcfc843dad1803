"""The campaign: writers, workers, everything that can go wrong at random, and a judge who counts for himself.

``python -m tests.chaos --seconds 60 --seed 7`` (``make chaos``) runs it on a PostgreSQL of its own.
"""
