"""Charts: a series becomes the lines of a small inline SVG and a sentence for those who cannot see it. No database."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 300
HEIGHT: Final = 60
# Room for the stroke at the top.
MARGIN: Final = 3

Value = tuple[float, float | None]  # seconds before now, and how much


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws. ``lines`` and ``areas`` are SVG point lists; a gap in the series is a gap in the line."""

    title: str
    latest: float | None
    peak: float | None
    lines: tuple[str, ...] = ()
    areas: tuple[str, ...] = ()
    width: int = WIDTH
    height: int = HEIGHT


def chart(title: str, values: Sequence[Value], seconds: float, longest_gap: float) -> Chart:
    """Draw the last ``seconds``: a point that is further than ``longest_gap`` from the one before begins a new line."""
    known = [value for _, value in values if value is not None]
    if not known:
        return Chart(title, None, None)
    peak = max(known)
    pieces = [[_point(each, seconds, peak) for each in piece] for piece in _pieces(values, longest_gap)]
    return Chart(
        title,
        latest=values[-1][1],
        peak=peak,
        lines=tuple(_text(_visible(piece)) for piece in pieces),
        areas=tuple(_text([(piece[0][0], HEIGHT), *piece, (piece[-1][0], HEIGHT)]) for piece in pieces),
    )


def _pieces(values: Iterable[Value], longest_gap: float) -> Iterator[list[tuple[float, float]]]:
    piece: list[tuple[float, float]] = []
    for age, value in values:
        if piece and (value is None or piece[-1][0] - age > longest_gap):
            yield piece
            piece = []
        if value is not None:
            piece.append((age, value))
    if piece:
        yield piece


def _point(value: tuple[float, float], seconds: float, peak: float) -> tuple[float, float]:
    age, amount = value
    x = WIDTH * (1 - min(max(age, 0.0), seconds) / seconds)
    y = HEIGHT - (HEIGHT - MARGIN) * (amount / peak if peak > 0 else 0)
    return round(x, 1), round(y, 1)


def _visible(piece: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A single point would draw nothing: give it a length."""
    return piece if len(piece) > 1 else [piece[0], (min(WIDTH, piece[0][0] + 1.5), piece[0][1])]


def _text(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
