"""What an operator may do with a subscription: each verb as data, with its permission, its question and its form."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django import forms

from eventsource_app.store.session import log_database
from eventsource_app.subscriptions import control, rebuilding, repartitioning
from eventsource_app.subscriptions.config import MAX_PARTITIONS

PARTITION_COUNTS: Final = tuple(2**power for power in range(MAX_PARTITIONS.bit_length()))
Values = Mapping[str, Any]


class ReasonForm(forms.Form):
    """Why: kept in the audit trail."""

    reason = forms.CharField(
        max_length=1000, required=False, widget=forms.TextInput(attrs={"class": "vTextField"})
    )

    def __init__(self, *args: Any, subscription: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.subscription = subscription


class RequiredReasonForm(ReasonForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = True


class TypedForm(RequiredReasonForm):
    """For what cannot be taken back: the subscription's name is typed."""

    name = forms.CharField(
        label="Type the subscription’s name",
        max_length=200,
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )
    field_order: Sequence[str] = ("name", "reason")

    def clean_name(self) -> str:
        typed: str = self.cleaned_data["name"]
        if typed != self.subscription:
            raise forms.ValidationError(f"That is not “{self.subscription}”; nothing was changed.")
        return typed


class PartitionsForm(RequiredReasonForm):
    to = forms.TypedChoiceField(
        label="Number of partitions",
        coerce=int,
        choices=[(count, f"{count:,}") for count in PARTITION_COUNTS],
    )
    field_order = ("to", "reason")


class ResetForm(TypedForm):
    to = forms.IntegerField(label="New position", min_value=0, max_value=2**63 - 1)
    # What the operator saw: a checkpoint that moved since then is not the one that was meant.
    seen = forms.CharField(widget=forms.HiddenInput, max_length=25_000)
    field_order = ("to", "name", "reason")

    def clean_seen(self) -> tuple[int, ...]:
        try:
            return tuple(int(each) for each in self.cleaned_data["seen"].split(","))
        except ValueError as error:
            raise forms.ValidationError("Open the page again: it does not say what it showed.") from error


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb; ``run(name, who, values)`` does it and returns what came of it, in a sentence."""

    slug: str
    title: str
    permission: str
    consequence: str
    form: type[ReasonForm]
    run: Callable[[str, str, Values], str]
    is_grave: bool = False


def _pause(name: str, who: str, values: Values) -> str:
    return _state(control.pause(name, who, values["reason"] or "paused at the desk", using=log_database()))


def _resume(name: str, who: str, values: Values) -> str:
    return _state(control.resume(name, who, using=log_database()))


def _state(change: control.StateChange) -> str:
    if not change.changed:
        return f"{change.subscription} is {change.state} already."
    return f"{change.subscription} was {change.previous} and is {change.state} now."


def _rebuild(name: str, who: str, values: Values) -> str:
    begun = rebuilding.rebuild(name, who)
    missing = (
        ""
        if rebuilding.has_live_worker(name, using=log_database())
        else " No worker that could replay the log is alive: start one."
    )
    return (
        f"{name} is empty and being rebuilt from position {begun.from_position} to {begun.target}; "
        f"{begun.closed_letter_count} dead letters were closed.{missing}"
    )


def _change_partitions(name: str, who: str, values: Values) -> str:
    result = repartitioning.change_partitions(name, values["to"], who)
    if not result.changed:
        return f"{name} has {result.partition_count} partitions already."
    return (
        f"{name} had {result.previous_count} partitions and has {result.partition_count} now, "
        f"all at position {result.position}."
    )


def _reset(name: str, who: str, values: Values) -> str:
    result = rebuilding.reset_checkpoint(name, values["to"], who, seen_positions=values["seen"])
    before = ", ".join(str(position) for position in sorted(set(result.previous_positions)))
    return (
        f"The checkpoint of {name} was at {before} and is at {result.position} now; "
        f"{result.closed_letter_count} dead letters were closed."
    )


VERBS: Final = {
    verb.slug: verb
    for verb in (
        Verb(
            "pause",
            "Pause",
            "pause_checkpoint",
            "The batch that runs is finished, then nothing is delivered until somebody resumes it, across restarts too. "
            "The read model stays as it is.",
            ReasonForm,
            _pause,
        ),
        Verb(
            "resume",
            "Resume",
            "pause_checkpoint",
            "Delivery goes on where it stood.",
            ReasonForm,
            _resume,
        ),
        Verb(
            "rebuild",
            "Rebuild",
            "rebuild_checkpoint",
            "The read model is emptied now and filled again from the beginning of the log. Until that is done its answers are "
            "incomplete. Every dead letter is closed, and a paused or stopped subscription runs again.",
            TypedForm,
            _rebuild,
            is_grave=True,
        ),
        Verb(
            "partitions",
            "Change partitions",
            "repartition_checkpoint",
            "The workers step back, what the slower partitions have not seen is delivered here, and the workers take the new "
            "partitions within seconds. With more than one partition a handler may write only rows of the event’s own aggregate.",
            PartitionsForm,
            _change_partitions,
        ),
        Verb(
            "reset",
            "Reset the checkpoint",
            "reset_checkpoint",
            "The read model stays as it is. What lies above the new position is delivered, again where it was delivered "
            "before; what lies between is skipped for ever when the position goes up. Stop the subscription’s workers first: "
            "it is refused while one owns a partition, and when the position has moved since this page was opened.",
            ResetForm,
            _reset,
            is_grave=True,
        ),
    )
}
