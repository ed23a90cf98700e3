"""The palette of commands lists the budgets as F2 goes through them."""

from __future__ import annotations

from typing import Any

from textual.command import DiscoveryHit

from tests.tui.helpers import app_of, make_app, until
from tui.budget_steps import budget_name
from tui.palette import PaletteProvider


async def test_budgets_stand_from_much_to_little_behind_the_other_commands() -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await until(pilot, lambda: app_of(pilot).ready)
        assert {PaletteProvider} == app.COMMANDS
        hits: list[Any] = [hit async for hit in PaletteProvider(app.screen).discover()]
        steps = [f"Budget {budget_name(step)}" for step in app_of(pilot)._budget_steps()]
    assert all(isinstance(hit, DiscoveryHit) for hit in hits)
    titles = [hit.text for hit in hits]
    assert len(steps) > 3 and steps != sorted(steps)
    assert titles[-len(steps) :] == steps
    others = titles[: -len(steps)]
    assert others == sorted(others) and "Quit" in others
