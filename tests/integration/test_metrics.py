"""/metrics tells what was done and how far behind everybody is, for one query, also while the database is away."""

from functools import partial
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from django.test import Client

from eventsource_app.probes.exposition import FAMILIES
from eventsource_app.store import ExpectedVersion, WrongExpectedVersionError
from tests.builders import a_store, a_stream, payments
from tests.integration.http_api import client as api_client
from tests.integration.http_api import post
from tests.integration.ledger import NAME, NEVER_AGAIN, Gate, World, in_background
from tests.scraping import families_of, value_of


class Scrape:
    """One answer of ``/metrics``."""

    def __init__(self, client: Client) -> None:
        response = client.get("/metrics")
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        self.families = families_of(response.content.decode())

    def value(self, name: str, **labels: str) -> float:
        return value_of(self.families, name, **labels)

    def of(self, metric: str, **labels: str) -> float:
        return self.value(f"eventsource_{metric}", subscription=NAME, **labels)


@pytest.mark.django_db
def test_every_metric_of_the_catalogue_is_there_and_no_other(client: Client) -> None:
    families = Scrape(client).families
    assert {name: metric.type for name, metric in families.items()} == {f.name: f.kind for f in FAMILIES}
    for family in FAMILIES:
        assert families[family.name].documentation == family.help
        for sample in families[family.name].samples:
            assert set(sample.labels) - {"le"} == set(family.labels), sample


@pytest.mark.django_db
def test_a_scrape_costs_one_query(client: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert Scrape(client).value("eventsource_database_up") == 1


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["post", "put", "delete", "options"])
def test_only_get_and_head(client: Client, method: str) -> None:
    assert getattr(client, method)("/metrics").status_code == 405


@pytest.mark.django_db
def test_a_pod_is_scraped_by_its_ip(client: Client, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["orders.example.com"]
    settings.SECURE_SSL_REDIRECT = True
    assert client.get("/metrics", headers={"host": "10.1.2.3:8000"}).status_code == 200


@pytest.mark.django_db
def test_requests_are_told_by_route_and_status(client: Client) -> None:
    labels = {"method": "GET", "route": "/health/live"}
    before = Scrape(client)
    for _ in range(3):
        client.get("/health/live")
    after = Scrape(client)
    for name, more in (
        ("http_requests_total", {"status": "200"}),
        ("http_request_duration_seconds_count", {}),
    ):
        assert after.value(name, **labels, **more) == before.value(name, **labels, **more) + 3


@pytest.mark.django_db
def test_appends_and_lost_races_are_counted(client: Client) -> None:
    store, stream, before = a_store(), a_stream(), Scrape(client)

    events = payments(stream, 2)
    for _ in range(2):  # the second time it is a repetition, which stores nothing
        store.append(stream, events, ExpectedVersion.NO_STREAM)
    with pytest.raises(WrongExpectedVersionError):
        store.append(stream, payments(stream, 1), ExpectedVersion.NO_STREAM)

    after = Scrape(client)
    expected = {"appends_total": 1, "appended_events_total": 2, "append_conflicts_total": 1,
                "append_duration_seconds_count": 1}  # fmt: skip
    for name, grown in expected.items():
        assert after.value(f"eventsource_{name}") - before.value(f"eventsource_{name}") == grown, name


@pytest.mark.django_db(transaction=True)
def test_a_repeated_request_that_gets_its_first_answer_is_counted(client: Client) -> None:
    before = Scrape(client).value("eventsource_idempotency_replays_total")
    order = {"customer_id": "cust-1", "total": "10.00"}
    for _ in range(3):
        post(api_client(), "/orders", order, **{"Idempotency-Key": "key-1"})
    assert Scrape(client).value("eventsource_idempotency_replays_total") == before + 2


def test_a_subscription_is_told_from_its_rows(client: Client, world: World) -> None:
    poisoned, sound = world.accounts(2)
    world.ledger.fails_at(poisoned, 1, ValueError("no"))
    world.catch_up(**NEVER_AGAIN)
    last = world.pay_in(sound)

    found = Scrape(client)

    expected = {"events_processed_total": 1, "events_failed_total": 1, "retries_total": 0, "lease_changes_total": 1,
                "lag_events": 1, "partitions": 1, "partitions_without_owner": 1}  # fmt: skip
    assert {name: found.of(name) for name in expected} == expected
    assert found.of("batches_total") > 0
    assert found.of("lag_seconds") > 0
    assert {s: found.of("dead_letters", state=s) for s in ("parked", "retrying", "dead")} == {
        "parked": 1,
        "retrying": 0,
        "dead": 0,
    }
    assert (
        found.of("breaker_partitions", state="closed") == found.of("state_partitions", state="running") == 1
    )
    assert found.value("eventsource_live_workers") == 0
    assert found.value("eventsource_head_position") == last


def test_the_running_worker_is_told(client: Client, world: World) -> None:
    world.accounts(1)
    world.start()
    world.wait_until_caught_up()
    found = Scrape(client)
    assert found.value("eventsource_live_workers") == 1
    assert found.of("partitions_without_owner") == 0


def test_an_append_whose_transaction_stays_open_is_told_by_its_age(client: Client, world: World) -> None:
    stream, gate = a_stream(), Gate()

    def append_and_idle() -> None:
        with transaction.atomic():
            world.pay_in(stream)
            gate()

    thread = in_background(append_and_idle)
    with gate:
        gate.wait_until_reached()
        assert Scrape(client).value("eventsource_fence_age_seconds") > 0
    thread.join()
    assert Scrape(client).value("eventsource_fence_age_seconds") == 0


def test_batches_and_handlers_are_timed_where_they_run(client: Client, world: World) -> None:
    before = Scrape(client)
    world.accounts(3)
    world.catch_up()
    after = Scrape(client)
    handled, attempted = (
        after.of(f"{name}_duration_seconds_sum") - before.of(f"{name}_duration_seconds_sum")
        for name in ("handler", "batch")
    )
    assert 0 < handled < attempted


@pytest.mark.django_db(transaction=True)
def test_without_a_database_only_the_rows_values_are_missing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.get("/health/live")
    default = connections["default"]
    default.close()
    with monkeypatch.context() as away:
        away.setitem(default.settings_dict, "HOST", "127.0.0.1")
        away.setitem(default.settings_dict, "PORT", "1")
        found = Scrape(client)
    assert found.families["eventsource_database_up"].samples[0].value == 0
    assert found.families["eventsource_live_workers"].samples == []
    assert found.value("http_requests_total", method="GET", route="/health/live", status="200") > 0
    assert Scrape(client).value("eventsource_database_up") == 1


@pytest.mark.django_db(transaction=True)
def test_the_pools_use_is_told(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    default: Any = connections["default"]
    default.close()
    pool = {"min_size": 1, "max_size": 2, "timeout": 0.2}
    monkeypatch.setitem(default.settings_dict["OPTIONS"], "pool", pool)
    gates = Gate(), Gate()
    try:
        before = Scrape(client)
        holders = [in_background(partial(_hold_a_connection, gate)) for gate in gates]
        with gates[0], gates[1]:
            for gate in gates:
                gate.wait_until_reached()
            in_background(_find_no_connection).join()
            found = Scrape(client)
        for holder in holders:
            holder.join()
    finally:
        default.close()
        default.close_pool()
    use = {
        name: found.value(f"eventsource_pool_{name}", database="default")
        for name in ("max", "size", "available")
    }
    assert use == {"max": 2, "size": 2, "available": 0}
    for name in ("eventsource_pool_waits_total", "eventsource_pool_timeouts_total"):
        assert found.value(name, database="default") > before.value(name, database="default")


def _hold_a_connection(gate: Gate) -> None:
    connections["default"].ensure_connection()
    gate()


def _find_no_connection() -> None:
    with pytest.raises(OperationalError):
        connections["default"].ensure_connection()
