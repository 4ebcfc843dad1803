"""``python -m tests.benchmarks [--quick] [--json FILE] [workload …]``: a table on standard output, JSON in a file."""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from settings import env

if TYPE_CHECKING:
    from tests.benchmarks.runner import Result
    from tests.benchmarks.server import Bench

GROUPS = ("appending", "aggregates", "reading", "growth", "subscriptions", "desk", "waiting", "serving")
HEADER = f"{'workload':<46} {'unit':<10} {'ours':>28} {'reference':>28} {'result':>10} {'goal':>12}"


def main() -> None:
    arguments = _arguments()
    env.default("DJANGO_SETTINGS_MODULE", "settings.test")
    from tests.benchmarks.server import Bench, durable_server, facts, prepare

    with durable_server() as server:
        # Settings name the server, so it is there before Django is.
        import_module("django").setup()
        prepare(server)
        seconds, repetitions = (0.3, 3) if arguments.quick else (1.0, 7)
        results = _run(Bench(server, seconds, repetitions, arguments.quick), arguments.workloads)
        if arguments.json:
            document = {"facts": facts(server), "results": [result.as_json() for result in results]}
            arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _run(bench: "Bench", names: list[str]) -> "list[Result]":
    from tests.benchmarks.runner import measure
    from tests.benchmarks.workload import workloads

    for group in GROUPS:
        import_module(f"tests.benchmarks.{group}")
    known = workloads()
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"There is no workload {unknown[0]!r}; there are {', '.join(known)}.")
    chosen = list(dict.fromkeys(names)) or [
        name for name, item in known.items() if not (bench.quick and item.full_only)
    ]
    print(HEADER, flush=True)
    results = []
    for name in chosen:
        results.append(measure(known[name], bench))
        print(_line(results[-1]), flush=True)
    return results


def _line(result: "Result") -> str:
    workload = result.workload
    value = f"{result.value:.2f}{workload.goal.unit}"
    verdict = "" if result.is_met else "  missed"
    return (
        f"{workload.title:<46} {workload.unit:<10} {result.ours!s:>28} {result.reference!s:>28} "
        f"{value:>10} {workload.goal.text:>12}{verdict}\n  beside: {workload.reference}"
        + "".join(f"\n  {note}" for note in result.notes)
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="workload", help="only these (default: all)")
    parser.add_argument("--quick", action="store_true", help="short samples, and no log of a million events")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
