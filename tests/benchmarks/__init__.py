"""Benchmarks: each workload beside plain psycopg doing the same SQL, in the same run. Not tests: nothing fails on a time.

A new group is one file here that registers its workloads with ``@workload`` and is named in ``__main__.GROUPS``.
"""
