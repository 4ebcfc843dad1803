"""The demo's order of events, on a manager that only notes what it is told."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from projections import demo


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Any:
    calls = MagicMock()
    calls.manager.stop.return_value = SimpleNamespace(
        phase=SimpleNamespace(value="stopped"),
        duration_seconds=0.1,
        forced=False,
        events_in_flight=0,
        checkpoints_saved=2,
        reason="asked",
    )
    calls.manager.health_check.return_value.to_dict.return_value = {"status": "healthy"}
    monkeypatch.setattr(demo, "SubscriptionManager", lambda **options: calls.manager)
    app: Any = demo.ProductionApp(60, 30)
    monkeypatch.setattr(app.repository, "save", calls.save)
    app.calls = calls
    return app


def test_it_starts_orders_looks_waits_and_stops_in_this_order(
    app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    result = app.run(3, wait=app.calls.wait)
    names = [call[0] for call in app.calls.mock_calls if not call[0].startswith("manager.health_check()")]
    assert names[-5:] == ["manager.start", "save", "manager.health_check", "wait", "manager.stop"]
    assert result.forced is False
    lines = {record.message: vars(record) for record in caplog.records}
    assert lines["Order created"]["total"] == "499.99"
    assert lines["Health check"]["status"] == "healthy"
    assert lines["Manager stopped"]["phase"] == "stopped"


def test_it_stops_even_when_the_order_fails(app: Any) -> None:
    app.calls.save.side_effect = RuntimeError("no order today")
    with pytest.raises(RuntimeError):
        app.run(3, wait=app.calls.wait)
    app.calls.manager.stop.assert_called_once()
    app.calls.wait.assert_not_called()
