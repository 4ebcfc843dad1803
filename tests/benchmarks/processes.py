"""Clients in processes of their own: forked once per workload, then told what to do, sample by sample."""

import logging
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

from django.db import connections

from eventsource_app.management.collection import relax_collection
from eventsource_app.store.notifications import close_wake_ups
from tests.benchmarks.server import Bench
from tests.benchmarks.workload import Sides

Operation = Callable[[], int]
MakeOperation = Callable[[], Operation]
Pipe = Connection
HEAD_START_SECONDS = 0.02
WARM_UP_CALLS = 12
_fork = multiprocessing.get_context("fork")


@contextmanager
def clients(bench: Bench, count: int, ours: MakeOperation, reference: MakeOperation) -> Iterator[Sides]:
    """Fork ``count`` processes; a side's sample is how many things they do together per second.

    Each process makes each operation once (it opens its connections); an operation returns how many things it did.
    """
    connections.close_all()  # a forked child must not share a socket
    pipes = [_start({"ours": ours, "reference": reference}, bench.seconds) for _ in range(count)]
    try:
        yield Sides(lambda: _rate(pipes, "ours"), lambda: _rate(pipes, "reference"))
    finally:
        for pipe in pipes:
            pipe.send(None)
        for pipe in pipes:
            pipe.recv()


def _rate(pipes: Sequence[Pipe], side: str) -> float:
    _tell(pipes, (side, 0.0))  # connected and warm before the clock starts
    return sum(_tell(pipes, (side, time.monotonic() + HEAD_START_SECONDS)))


def _tell(pipes: Sequence[Pipe], order: tuple[str, float]) -> list[float]:
    for pipe in pipes:
        pipe.send(order)
    return [pipe.recv() for pipe in pipes]


def _start(makes: dict[str, MakeOperation], seconds: float) -> Pipe:
    ours, theirs = _fork.Pipe()
    _fork.Process(target=_serve, args=(theirs, makes, seconds), daemon=True).start()
    theirs.close()
    return ours


def _serve(pipe: Pipe, makes: dict[str, MakeOperation], seconds: float) -> None:
    operations: dict[str, Operation] = {}
    while (order := pipe.recv()) is not None:
        side, start = order
        operation = operations.get(side) or operations.setdefault(side, makes[side]())
        pipe.send(_run(operation, start, seconds) if start else _warm_up(operation))
    close_wake_ups()
    connections.close_all()
    pipe.send(None)


def _warm_up(operation: Operation) -> float:
    return float(sum(operation() for _ in range(WARM_UP_CALLS)))


def _run(operation: Operation, start: float, seconds: float) -> float:
    time.sleep(max(0.0, start - time.monotonic()))
    began, done = time.perf_counter(), 0
    end = began + seconds
    while time.perf_counter() < end:
        done += operation()
    return done / (time.perf_counter() - began)


def in_child(function: Callable[[], float]) -> float:
    """Run it in a fresh process, as a worker is."""
    connections.close_all()
    close_wake_ups()
    ours, theirs = _fork.Pipe()
    process = _fork.Process(target=_answer, args=(theirs, function))
    process.start()
    theirs.close()
    answer: float = ours.recv()
    process.join()
    return answer


def _answer(pipe: Connection, function: Callable[[], float]) -> None:
    be_quiet()
    relax_collection()
    pipe.send(function())
    close_wake_ups()
    connections.close_all()


def be_quiet() -> None:
    logging.getLogger("eventsource").setLevel(logging.WARNING)


def peak_megabytes(make: MakeOperation) -> float:
    """Return by how many MiB one call makes a fresh process grow at its peak."""
    connections.close_all()
    ours, theirs = _fork.Pipe()
    process = _fork.Process(target=_measure_peak, args=(theirs, make))
    process.start()
    peak: float = ours.recv()
    process.join()
    return peak


def _measure_peak(pipe: Connection, make: MakeOperation) -> None:
    operation = make()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    operation()
    pipe.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
