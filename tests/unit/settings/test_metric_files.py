"""gunicorn's workers share metrics through files that belong to slots, not to pids."""

import subprocess
import sys
from pathlib import Path

import pytest

from settings.env import for_child_process
from settings.metric_files import MetricFiles, free_slot

# A worker in a process of its own: it takes its slot, counts, sets a gauge, and tells what it sees of all.
WORKER = """
import sys
from pathlib import Path
from settings.metric_files import MetricFiles

files = MetricFiles()
files.folder, files.slot = Path(sys.argv[1]), sys.argv[2]
files.share()
from eventsource_app.observability import metrics
metrics.appends.inc(float(sys.argv[3]))
metrics.pool_size.labels("default").set(float(sys.argv[3]))
found = {sample.name: sample.value for family in metrics.collect_process_metrics() for sample in family.samples}
print(found["eventsource_appends_total"], found["eventsource_pool_size"])
"""


def work(folder: Path, slot: str, amount: int) -> list[float]:
    """Return appends and pool size as that worker sees them over all workers."""
    run = subprocess.run(
        [sys.executable, "-c", WORKER, str(folder), slot, str(amount)],
        env=for_child_process(DJANGO_SETTINGS_MODULE="settings.test"),
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(word) for word in run.stdout.split()]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MetricFiles:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return MetricFiles()


def test_a_slot_is_the_lowest_that_nobody_has() -> None:
    assert [free_slot([]), free_slot(["0", "1"]), free_slot(["2", "0"])] == ["0", "2", "1"]


def test_workers_see_each_others_counts_and_a_successor_goes_on_counting(files: MetricFiles) -> None:
    folder = files.make()
    assert work(folder, "0", 3) == [3, 3]
    assert work(folder, "1", 4) == [7, 7]

    files.forget_gauges("0")  # worker 0 died

    assert work(folder, "0", 5) == [12, 9], "what it had counted stays, what it had in use does not"
    assert len(list(folder.glob("counter_*.db"))) == 2


def test_each_master_begins_with_an_empty_folder_and_takes_it_away(files: MetricFiles) -> None:
    first, second = files.make(), MetricFiles().make()
    assert first != second
    assert list(second.iterdir()) == []
    (first / "counter_0.db").touch()
    files.remove()
    assert not first.exists()
