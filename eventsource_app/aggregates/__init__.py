"""Aggregates' front door."""

from eventsource_app.aggregates.aggregate import AggregateRoot
from eventsource_app.aggregates.registry import DuplicateAggregateTypeError, register_aggregate
from eventsource_app.aggregates.repository import AggregateNotFoundError, AggregateRepository
from eventsource_app.aggregates.snapshot_policy import SnapshotPolicy

__all__ = [
    "AggregateNotFoundError",
    "AggregateRepository",
    "AggregateRoot",
    "DuplicateAggregateTypeError",
    "SnapshotPolicy",
    "register_aggregate",
]
