"""The pace of demo traffic."""

from orders.traffic import paced


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_a_rate_spaces_the_orders() -> None:
    clock = Clock()
    assert [clock.now for _ in paced(4, 2.0, clock, clock.sleep)] == [0.0, 0.5, 1.0, 1.5]


def test_a_slow_order_is_caught_up_with() -> None:
    clock = Clock()
    started = []
    for number in paced(4, 2.0, clock, clock.sleep):
        started.append(clock.now)
        clock.now += 1.2 if number == 0 else 0.0
    assert started == [0.0, 1.2, 1.2, 1.5]


def test_without_a_rate_nothing_waits() -> None:
    clock = Clock()
    assert list(paced(3, None, clock, clock.sleep)) == [0, 1, 2]
    assert clock.slept == []
