"""Charts: points on a canvas of 300 by 60, gaps where nobody looked."""

from eventsource_app.admin.charts import chart


def test_nothing_known_draws_nothing() -> None:
    assert chart("Lag", [(10, None)], 60, 30).peak is None
    assert chart("Lag", [], 60, 30).lines == ()


def test_time_goes_right_and_more_goes_up() -> None:
    drawn = chart("Lag", [(60, 0.0), (30, 10.0), (0, 5.0)], 60, 40)
    assert drawn.lines == ("0,60 150,3 300,31.5",)
    assert drawn.areas == ("0,60 0,60 150,3 300,31.5 300,60",)
    assert (drawn.latest, drawn.peak) == (5.0, 10.0)


def test_a_series_of_nothing_lies_at_the_bottom() -> None:
    assert chart("Lag", [(60, 0.0), (0, 0.0)], 60, 60).lines == ("0,60 300,60",)


def test_silence_and_unknown_values_break_the_line() -> None:
    values = [(50.0, 1.0), (40.0, 1.0), (20.0, 1.0), (10.0, None), (0.0, 1.0)]
    assert [line.count(",") for line in chart("Rate", values, 60, 15).lines] == [2, 2, 2]


def test_what_is_older_than_the_chart_is_at_its_edge() -> None:
    assert chart("Lag", [(90, 1.0), (0, 1.0)], 60, 100).lines == ("0,3 300,3",)
