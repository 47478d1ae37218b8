"""What results that prove themselves share."""

from dataclasses import dataclass

from exporters.verification import Comparison


@dataclass(frozen=True, kw_only=True)
class Verified:
    """Something that was made, and how near it computes what it was made from."""

    comparisons: tuple[Comparison, ...]

    @property
    def holds(self) -> bool:
        """Whether the outputs agree on every input that was tried."""
        return all(comparison.holds for comparison in self.comparisons)

    def comparison_lines(self) -> list[str]:
        """A line for each comparison."""
        return [str(comparison) for comparison in self.comparisons]
