"""The desk's history: workers write it seldom, it cannot grow beyond its ring, and it tells lag and rate as they were."""

from datetime import timedelta

import pytest
from django.utils import timezone

from eventsource_app.models import Checkpoint, SubscriptionSample
from eventsource_app.subscriptions import history, pruning
from tests.builders import a_stream
from tests.integration.ledger import NAME, World
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)


def kept(
    minutes_ago: float, processed: int, lag: int = 0, partition: int = 0, tick: int | None = None
) -> None:
    # In the middle of a minute, so that a bin's edge does not come between the samples of a test.
    moment = timezone.now().replace(second=30) - timedelta(minutes=minutes_ago)
    SubscriptionSample.objects.create(
        subscription=NAME,
        partition=partition,
        tick=SubscriptionSample.objects.count() if tick is None else tick,
        sampled_at=moment,
        lag_events=lag,
        lag_seconds=lag / 10,
        events_processed=processed,
        events_failed=0,
    )


def test_a_running_worker_samples_what_it_owns(world: World) -> None:
    world.pay_in(a_stream(), 3)
    world.start()
    wait_for(SubscriptionSample.objects.exists, what="a sample")
    assert SubscriptionSample.objects.get().subscription == NAME


def test_lag_is_what_lies_between_the_checkpoint_and_the_head(world: World) -> None:
    head = world.pay_in(a_stream(), 5)
    Checkpoint.objects.create(subscription=NAME, position=head - 2, events_processed=7, owner="w")
    history.sample("default", "w", [NAME])
    sample = SubscriptionSample.objects.get()
    assert (sample.lag_events, sample.events_processed) == (2, 7)
    assert sample.lag_seconds > 0


def test_partitions_of_others_are_left_to_them(world: World) -> None:
    soon = timezone.now() + timedelta(minutes=1)
    for partition, owner in enumerate(["me", "other", None]):
        Checkpoint.objects.create(
            subscription=NAME, partition=partition, partition_count=4, owner=owner, lease_expires_at=soon
        )
    Checkpoint.objects.create(subscription="unknown to me", owner=None)
    history.sample("default", "me", [NAME])
    assert sorted(SubscriptionSample.objects.values_list("partition", flat=True)) == [0, 2]


def test_a_sample_replaces_the_one_of_the_round_before(world: World) -> None:
    Checkpoint.objects.create(subscription=NAME, events_processed=9)
    history.sample("default", "me", [NAME])
    SubscriptionSample.objects.update(sampled_at=timezone.now() - timedelta(seconds=history.KEPT_SECONDS))
    tick = SubscriptionSample.objects.get().tick
    assert 0 <= tick < history.SAMPLES_KEPT
    history.sample("default", "me", [NAME])
    rows = SubscriptionSample.objects.filter(tick=tick)  # unless half a minute has just ended
    assert rows.count() == 1
    assert SubscriptionSample.objects.count() <= 2


def test_beats_between_samples_cost_nothing_more(world: World) -> None:
    Checkpoint.objects.create(subscription=NAME)
    sampler = history.Sampler("default", "me")
    sampler.sample_if_due([NAME])
    assert SubscriptionSample.objects.count() == 1
    SubscriptionSample.objects.all().delete()
    for _ in range(10):
        sampler.sample_if_due([NAME])
    assert not SubscriptionSample.objects.exists()


def test_points_give_the_worst_lag_and_the_sum_of_rates(world: World) -> None:
    for partition, per_minute in ((0, 600), (1, 60)):
        for minute in range(4):
            kept(4 - minute, minute * per_minute, lag=partition * 10 + minute, partition=partition)
    points = history.points(600, 10)[NAME]
    assert [point.lag_events for point in points] == [10, 11, 12, 13]
    assert points[0].rate is None
    assert [round(point.rate or 0) for point in points[1:]] == [11, 11, 11]


def test_a_long_silence_and_a_lower_counter_make_no_rate(world: World) -> None:
    kept(10, 0)
    kept(4, 6000)
    kept(3, 0)
    rates = [point.rate for point in history.points(900, 15)[NAME]]
    assert rates == [None, None, 0.0]


def test_rates_are_of_the_last_minute(world: World) -> None:
    row = Checkpoint.objects.create(subscription=NAME, events_processed=0)
    assert history.rates() == {}
    history.sample("default", "me", [NAME])
    SubscriptionSample.objects.update(sampled_at=timezone.now() - timedelta(seconds=60))
    row.events_processed = 600
    row.save()
    (rate,) = history.rates().values()
    assert 9 < rate <= 10
    SubscriptionSample.objects.update(sampled_at=timezone.now() - timedelta(seconds=120))
    assert history.rates() == {}


def test_prune_forgets_the_samples_of_partitions_that_are_gone(world: World) -> None:
    kept(history.KEPT_SECONDS / 60 + 1, 0)
    kept(1, 0)
    assert pruning.prune()["lag and rate samples"] == 1
    assert SubscriptionSample.objects.count() == 1
