"""Score: one figure with its interval, which way is good, what it means, and what it stands beside."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Score:
    """A figure beside its floors: what fresh real records, copies and independent columns get in its place.

    Args:
        name: stable and dotted, such as `fidelity.detection`; what a gate refers to.
        value: the figure of the synthetic records.
        about: one sentence that says what is measured.
        better: which way is good: `less`, `more`, or `near` the ideal from either side.
        ideal: what perfect synthetic records get, apart from chance.
        low: lower end of the 95 % interval of the value.
        high: its upper end.
        fresh: the same for as many fresh real records: what no generator should be asked to beat.
        copies: the same for copies of the training records; where they do as well, the figure says nothing of copying.
        independent: the same for columns drawn independently; of images, for blurred means of a class.
        headline: whether it belongs into the summary.
    """

    name: str
    value: float
    about: str
    better: Literal["less", "more", "near"]
    ideal: float
    low: float | None = None
    high: float | None = None
    fresh: float | None = None
    copies: float | None = None
    independent: float | None = None
    headline: bool = False

    @classmethod
    def of(
        cls,
        name: str,
        estimate: float | tuple[float, float, float],
        about: str,
        better: Literal["less", "more", "near"],
        ideal: float,
        floors: Mapping[str, float | None],
        headline: bool = False,
    ) -> "Score":
        """A score from a value, or a value with both ends of its interval, and floors by the names of their fields."""
        value, low, high = estimate if isinstance(estimate, tuple) else (estimate, None, None)
        fresh, copies, independent = (floors.get(k) for k in ("fresh", "copies", "independent"))
        return cls(name, value, about, better, ideal, low, high, fresh, copies, independent, headline)

    @property
    def excess(self) -> float | None:
        """How far the value is from that of fresh real records; positive is above it."""
        return None if self.fresh is None else self.value - self.fresh
