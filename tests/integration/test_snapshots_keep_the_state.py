"""A snapshot is taken only of a state that its JSON gives back, and read only where the shape of the state is still the same."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from math import nan
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import pytest
from pydantic import BaseModel, Field
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_plain_validator_function

from eventsource_app.aggregates import AggregateRepository, AggregateRoot, SnapshotPolicy
from eventsource_app.events import DomainEvent
from tests.builders import (
    ACCOUNT,
    a_store,
    a_stream,
    payments,
)
from tests.integration.snapshots import CODE_CHANGED, NOT_TAKEN, reasons, snapshot_version

pytestmark = pytest.mark.django_db(transaction=True)
State = TypeVar("State")


class Keeper(AggregateRoot[State]):
    """Its state is what its class says, whatever happens."""

    aggregate_type = ACCOUNT
    kept: ClassVar[Any]

    def _get_initial_state(self) -> State:
        kept: State = self.kept
        return kept

    def _apply(self, event: DomainEvent) -> None:
        self._state = self.state


class Reading(BaseModel):
    taken_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    value: float | None = None
    tags: frozenset[str] = frozenset("abc")
    seen: bool = Field(default=False, exclude=True)


class Plate(str):
    """A type of the project's own: pydantic reads and writes it, and knows no JSON schema of it."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> CoreSchema:
        return no_info_plain_validator_function(cls)


class Gauge(BaseModel):
    """A default that JSON does not know cannot be part of the shape."""

    value: int = 0
    unit: Any = Field(default=object(), exclude=True)


class FineReading(Reading):
    """What is declared to be a ``Reading`` only."""


@dataclass
class Tally:
    counted: int = 0
    total: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.total += self.counted


@dataclass(eq=False)
class Incomparable:
    counted: int = 0


def a_tally_that_went_on() -> Tally:
    tally = Tally(2)
    tally.total = 5
    return tally


class KeepsDecimals(Keeper[dict]):  # type: ignore[type-arg]
    kept = {"balance": Decimal("1.50")}


class KeepsTimes(Keeper[dict[str, Any]]):
    kept = {"since": datetime(2026, 1, 1, tzinfo=UTC)}


class KeepsWhatIsLeftOut(Keeper[Reading]):
    kept = Reading(seen=True)


class KeepsASubclass(Keeper[Reading]):
    kept = FineReading()


class KeepsNan(Keeper[Reading]):
    kept = Reading(value=nan)


class KeepsATally(Keeper[Tally]):
    kept = a_tally_that_went_on()


class KeepsTheIncomparable(Keeper[Incomparable]):
    kept = Incomparable(2)


class KeepsTheUnreadable(Keeper[Reading]):
    kept = Reading().model_copy(update={"taken_at": "yesterday"})


class KeepsAReading(Keeper[Reading]):
    kept = Reading(value=0.1)


class Aliased(BaseModel, alias_generator=str.upper):
    counted: int


class AliasedInJson(Aliased, serialize_by_alias=True):
    pass


class KeepsTheAliased(Keeper[Aliased]):
    kept = Aliased(COUNTED=2)


class KeepsTheAliasedInJson(Keeper[AliasedInJson]):
    kept = AliasedInJson(COUNTED=2)


class KeepsAPlate(Keeper[Plate]):
    kept = Plate("B-ES 42")


class KeepsAGauge(Keeper[Gauge]):
    kept = Gauge(value=3)


class KeepsAFreshTally(Keeper[Tally]):
    kept = Tally(2)


class KeepsTypedDecimals(Keeper[dict[str, Decimal]]):
    kept = {"balance": Decimal("1.50")}


def keepers(keeper: type[Keeper[Any]]) -> AggregateRepository[Keeper[Any]]:
    return AggregateRepository(
        event_store=a_store(),
        aggregate_factory=keeper,
        aggregate_type=ACCOUNT,
        snapshot_policy=SnapshotPolicy(every=5),
    )


def a_saved(keeper: type[Keeper[Any]]) -> UUID:
    stream = a_stream()
    aggregate = keepers(keeper).create_new(stream.aggregate_id)
    for event in payments(stream, 5):
        aggregate.apply_event(event)
    assert keepers(keeper).save(aggregate).version == 5
    return stream.aggregate_id


@pytest.mark.parametrize(
    ("keeper", "reason"),
    [
        (KeepsDecimals, "The dict that is read back from its JSON does not equal the state"),
        (KeepsTimes, "The dict that is read back from its JSON does not equal the state"),
        (KeepsWhatIsLeftOut, "The Reading that is read back from its JSON does not equal the state"),
        (KeepsASubclass, "The state is a FineReading, but a Reading is read back from its JSON"),
        (KeepsNan, "The Reading that is read back from its JSON does not equal the state"),
        (KeepsATally, "The Tally that is read back from its JSON does not equal the state"),
        (
            KeepsTheIncomparable,
            "Incomparable defines no __eq__, so what is read back from its JSON cannot be compared",
        ),
        (KeepsTheUnreadable, "The Reading cannot be read back from its JSON \\(ValidationError\\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_state_that_does_not_come_back_the_same_is_never_taken(
    caplog: pytest.LogCaptureFixture, keeper: type[Keeper[Any]], reason: str
) -> None:
    aggregate_id = a_saved(keeper)
    assert snapshot_version(aggregate_id) is None
    [record] = [record for record in caplog.records if record.message == NOT_TAKEN]
    assert re.search(reason, record.__dict__["reason"])
    assert record.__dict__["aggregate_id"] == str(aggregate_id)
    assert keepers(keeper).load(aggregate_id).state is keeper.kept


@pytest.mark.parametrize(
    "keeper", [KeepsAReading, KeepsAFreshTally, KeepsTypedDecimals, KeepsTheAliased, KeepsTheAliasedInJson]
)
def test_a_state_that_comes_back_the_same_is_taken(keeper: type[Keeper[Any]]) -> None:
    aggregate_id = a_saved(keeper)
    assert snapshot_version(aggregate_id) == 5
    state = keepers(keeper).load(aggregate_id).state
    assert state == keeper.kept
    assert state is not keeper.kept  # it is the snapshot's


def test_another_shape_of_the_state_makes_it_stale(caplog: pytest.LogCaptureFixture) -> None:
    aggregate_id = a_saved(KeepsAReading)

    class Reading(BaseModel):
        value: float | None = None
        unit: str = "mm"

    class Later(Keeper[Reading]):
        kept = Reading(value=0.1, unit="cm")

    Later.__qualname__ = KeepsAReading.__qualname__
    assert keepers(Later).load(aggregate_id).state == Reading(value=0.1, unit="cm")
    assert reasons(caplog) == [CODE_CHANGED]


@pytest.mark.parametrize("keeper", [KeepsAPlate, KeepsAGauge])
def test_a_shape_that_pydantic_cannot_tell_in_full_is_no_obstacle(
    keeper: type[Keeper[Any]], caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    aggregate_id = a_saved(keeper)
    assert snapshot_version(aggregate_id) == 5
    assert keepers(keeper).load(aggregate_id).state == keeper.kept
    assert reasons(caplog) == []
    assert [str(warning.message) for warning in recwarn] == []
