"""The configuration refuses what cannot work, in a sentence that names the field and the value."""

import dataclasses
from typing import Any

import pytest

from eventsource_app.events import DomainEvent
from eventsource_app.subscriptions import (
    CheckpointStrategy,
    ConfigurationError,
    HealthCheckConfig,
    SubscriptionConfig,
)
from tests.builders import Account, MoneyPaidIn


def test_the_defaults_are_the_contracts() -> None:
    assert dataclasses.asdict(SubscriptionConfig()) == {
        "start_from": "checkpoint",
        "batch_size": 100,
        "max_in_flight": 1000,
        "checkpoint_strategy": CheckpointStrategy.EVERY_BATCH,
        "checkpoint_interval_seconds": 5,
        "processing_timeout": 30,
        "continue_on_error": True,
        "dead_letter_scope": "aggregate",
        "max_dead_letters": None,
        "max_retries": 5,
        "initial_retry_delay": 1,
        "max_retry_delay": 60,
        "retry_exponential_base": 2,
        "retry_jitter": 0.1,
        "circuit_breaker_enabled": True,
        "circuit_breaker_failure_threshold": 5,
        "circuit_breaker_recovery_timeout": 30,
        "event_types": None,
        "aggregate_types": None,
        "partitions": 1,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"start_from": "begining"},
        {"start_from": -1},
        {"start_from": True},
        {"start_from": 1.5},
        {"batch_size": 0},
        {"batch_size": 10.0},
        {"batch_size": True},
        {"batch_size": 10, "max_in_flight": 9},
        {"max_in_flight": 0},
        {"batch_size": None},
        {"batch_size": "100"},
        {"checkpoint_strategy": "every_day"},
        {"continue_on_error": "false"},
        {"circuit_breaker_enabled": None},
        {"retry_jitter": None},
        {"retry_exponential_base": "2"},
        {"checkpoint_interval_seconds": 0},
        {"processing_timeout": -1},
        {"processing_timeout": float("inf")},
        {"processing_timeout": float("nan")},
        {"processing_timeout": "30"},
        {"processing_timeout": 0.0001},
        {"processing_timeout": 30 * 86_400},
        {"dead_letter_scope": "stream"},
        {"max_dead_letters": -1},
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"initial_retry_delay": 0},
        {"initial_retry_delay": 61},
        {"initial_retry_delay": 1e300, "max_retry_delay": 1e300},
        {"max_retry_delay": 0.5},
        {"retry_exponential_base": 0.5},
        {"retry_exponential_base": float("nan")},
        {"retry_jitter": 1.1},
        {"retry_jitter": -0.1},
        {"retry_jitter": float("nan")},
        {"circuit_breaker_failure_threshold": 0},
        {"circuit_breaker_recovery_timeout": 0},
        {"event_types": "OrderCreated"},
        {"event_types": [7]},
        {"event_types": [DomainEvent]},
        {"event_types": [int]},
        {"event_types": ["Order\0Created"]},
        {"event_types": [""]},
        {"aggregate_types": 7},
        {"aggregate_types": [Account]},
        {"aggregate_types": [MoneyPaidIn]},
        {"aggregate_types": ["Order\0"]},
        {"partitions": 0},
        {"partitions": 3},
        {"partitions": 2048},
    ],
    ids=str,
)
def test_an_impossible_value_is_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        SubscriptionConfig(**changes)
    assert any(name in str(refused.value) for name in changes)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize(
    "changes",
    [
        {"start_from": 0},
        {"start_from": "end"},
        {"max_dead_letters": 0},
        {"max_retries": 0},
        {"retry_jitter": 0},
        {"retry_exponential_base": 1},
        {"partitions": 1024},
        {"batch_size": 1, "max_in_flight": 1},
    ],
    ids=str,
)
def test_the_edges_are_possible(changes: dict[str, Any]) -> None:
    config = SubscriptionConfig(**changes)
    assert {name: getattr(config, name) for name in changes} == changes


def test_max_in_flight_is_ten_batches_when_only_the_batch_is_given() -> None:
    assert SubscriptionConfig(batch_size=250).in_flight_limit == 2500
    assert SubscriptionConfig(batch_size=250, max_in_flight=300).in_flight_limit == 300


def test_it_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SubscriptionConfig().batch_size = 5  # type: ignore[misc]


def test_lists_and_names_become_what_they_stand_for() -> None:
    config = SubscriptionConfig(
        event_types=[MoneyPaidIn, "NoteTaken"],  # type: ignore[arg-type]
        aggregate_types=["Account"],  # type: ignore[arg-type]
        checkpoint_strategy="periodic",  # type: ignore[arg-type]
    )
    assert config.event_types == (MoneyPaidIn, "NoteTaken")
    assert config.aggregate_types == ("Account",)
    assert config.checkpoint_strategy is CheckpointStrategy.PERIODIC


@pytest.mark.parametrize(
    "changes",
    [
        {"max_error_rate_per_minute": -1},
        {"max_errors_warning": "many"},
        {"max_errors_warning": 300},
        {"max_lag_events_warning": 60_000},
        {"max_dead_letters_critical": 5},
    ],
    ids=str,
)
def test_impossible_health_thresholds_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(changes))):
        HealthCheckConfig(**changes)
