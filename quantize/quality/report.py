"""All rows of a measurement, and the shapes that people and programs take them in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quantize.quality.plan import MeasureSettings
from quantize.quality.row import FormRow

if TYPE_CHECKING:
    from quantize.quality.card import CardFacts


@dataclass(frozen=True)
class Report:
    """`rows`: the reference first. `machine`: in words, where it was measured."""

    rows: tuple[FormRow, ...]
    settings: MeasureSettings
    machine: str
    interrupted: bool = False

    @property
    def reference(self) -> FormRow:
        """What the others are held against."""
        return self.rows[0]

    @property
    def failed(self) -> bool:
        """Whether something of a form could not be measured."""
        return any(row.errors for row in self.rows)

    @property
    def kl_tokens(self) -> int:
        """Tokens of replies that the forms were compared on."""
        return max((int(row.divergence["kl_tokens"]) for row in self.rows if row.divergence), default=0)

    def as_json(self) -> dict[str, Any]:
        """The object of `kangae bench quant --json`."""
        answers = self.reference.answers or {}
        found: dict[str, Any] = {
            "model": answers.get("name"),
            "reference": self.reference.label,
            "device": self.machine,
            "n": len(self.settings.problems),
            "kl_tokens": self.kl_tokens,
            "budget": self.settings.budget,
            "rows": [row.as_json(self.reference) for row in self.rows],
        }
        return found | ({"interrupted": True} if self.interrupted else {})

    def text(self) -> str:
        """Tables for a terminal of 80 columns."""
        from quantize.quality.report_table import report_text

        return report_text(self)

    def card(self, facts: CardFacts) -> str:
        """A model card in Markdown for the hub, as it stands in a README.md beside the files."""
        from quantize.quality.card import model_card

        return model_card(self, facts)

    def plots(self) -> dict[str, bytes]:
        """Pictures: file name to content, PNG and SVG. Needs matplotlib: see `runtime.bench.pictures`."""
        from quantize.quality.pareto import draw_pareto

        return draw_pareto(self)
