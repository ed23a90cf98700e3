"""The application: takes questions, runs turns in the background, shows their events, and obeys the keys."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer

from models.errors import KangaeError
from models.plain_text import one_line
from runtime.commands.keep import KeptConversation
from runtime.control.effort import effort_tokens
from runtime.request import Message as Said
from runtime.request import Request, Resumable
from runtime.responder import Control, Responder
from tui.budget_steps import budget_name, budget_steps, larger_budget, smaller_budget, thought_length
from tui.chat_options import ChatOptions
from tui.conversation import Conversation
from tui.help_screen import HelpScreen
from tui.key_line import KeyLine
from tui.live_keys import LiveKeys
from tui.model_slot import ModelSlot, Opener
from tui.note import Note
from tui.notices import Notices
from tui.palette import PaletteProvider
from tui.preferences import Preferences
from tui.question_box import QuestionBox
from tui.status_line import BudgetLabel, StatusLine
from tui.theme import KANGAE_THEME
from tui.turn import Turn
from tui.turn_feed import TurnFeed
from tui.turn_keeper import STOPPING_S, TurnKeeper
from tui.turn_search import TurnSearch
from tui.welcome import Example

if TYPE_CHECKING:
    from runtime.turn.kept_turns import KeptTurns

_FLUSH_S = 0.1  # new text is laid out ten times a second: each layout costs, and nobody reads faster
_LEAVING_S = 0.3  # the same grace as for any stopped turn would be too long where the system ends the program


class KangaeApp(LiveKeys):
    """`opener` opens the model (in a thread); `log` begins a conversation that is kept; `turns` gives the place where
    turns are kept until they end; `preferences` is the file of view settings."""

    CSS_PATH = Path(__file__).with_name("kangae.tcss")
    COMMANDS = {PaletteProvider}  # noqa: RUF012 - declared so by Textual
    TITLE = "Kangae"
    VERTICAL_BREAKPOINTS = [(0, "-short"), (24, "-tall")]  # noqa: RUF012
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (60, "-normal"), (100, "-wide")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f3", "answer_now", "Answer now", key_display="F3"),
        Binding("ctrl+o", "answer_now", "Answer now", show=False, priority=True),
        Binding("f4", "think_more", "Think more", key_display="F4"),
        Binding("f5", "pause", "Pause", key_display="F5"),
        Binding("escape", "stop", "Stop", key_display="Esc"),
        Binding("f1", "help", "Help", key_display="F1"),
        Binding("f2", "next_budget", "Budget", key_display="F2"),
        Binding("ctrl+b", "next_budget", "Budget", show=False, priority=True),
        Binding("shift+f2,f14", "larger_budget", "Larger budget", show=False),  # F14: how terminals send Shift+F2
        Binding("ctrl+t", "toggle_thought", "Thought", priority=True),
        Binding("ctrl+n", "new_conversation", "New", priority=True),
        Binding("ctrl+q", "quit", "Quit", priority=True),
        Binding("ctrl+y", "copy_answer", "Copy", priority=True),
    ]

    class TurnNews(Message):
        """Something of a turn should be seen at once."""

    class ModelNews(Message):
        """The model is opened, failed to, or came a little nearer."""

    class OfferNews(Message):
        """A turn was found that was interrupted, or could not be looked for."""

    def __init__(
        self,
        opener: Opener,
        options: ChatOptions | None = None,
        *,
        model_name: str = "",
        log: Callable[[], KeptConversation] | None = None,
        turns: Callable[[], KeptTurns] | None = None,
        preferences: Path | None = None,
    ) -> None:
        super().__init__()
        self.options = options or ChatOptions()
        self.budget = self.options.budget
        self._effort = self.options.effort
        self._slot = ModelSlot(opener, lambda: self._tell(self.ModelNews()))
        self._model_name = model_name
        self._keeper = TurnKeeper(log, self._tell_not_kept)
        self._keeps_turns = turns is not None
        self._search = TurnSearch(turns, lambda: self._tell(self.OfferNews()))
        self._preferences_file = preferences
        self._preferences = Preferences.load(preferences)
        self._history: list[Said] = []
        self._ticker: Timer | None = None
        self._drawing = asyncio.Lock()

    def compose(self) -> ComposeResult:
        yield Conversation()
        yield Notices()
        yield QuestionBox()
        yield StatusLine()
        yield KeyLine(self.offers, self.key_words)

    def on_mount(self) -> None:
        self.register_theme(KANGAE_THEME)
        self.theme = KANGAE_THEME.name
        self._ticker = self.set_interval(_FLUSH_S, self._draw, pause=True)
        self.set_budget(self.budget, effort=self._effort)
        self.query_one(QuestionBox).focus()
        self._slot.open()

    def keep_at_once(self) -> None:
        """End the turn under way and keep it."""
        self._stop_and_keep(_LEAVING_S)

    async def on_unmount(self) -> None:
        self._stop_and_keep(STOPPING_S)
        await self._keeper.finish()
        await asyncio.to_thread(self._slot.close)

    @property
    def busy(self) -> bool:
        """Whether a turn is under way."""
        return self._feed is not None

    @property
    def ready(self) -> bool:
        """Whether the model is open."""
        return self._slot.responder is not None

    @property
    def last_error(self) -> KangaeError | None:
        """Why the newest turn failed; None if it did not."""
        return self._turn.error if self._turn is not None else None

    @property
    def kept(self) -> bool:
        """Whether anything of what was said is in the store."""
        return self._keeper.kept

    # asking

    async def ask(self, question: str) -> None:
        """Begin a turn."""
        earlier = tuple(self._history)
        messages, tokens, effort = (*earlier, Said("user", question)), self.budget, self._effort

        def make_request(responder: Responder) -> Request:
            request = self.options.request(responder, messages, tokens, effort, secrets.token_hex(8))
            return Resumable.of(request) if self._keeps_turns else request

        feed = self._feed_of(make_request)
        folded, deadline = self._preferences.folded, self.options.deadline
        turn = Turn(question, tokens, folded=folded, started=feed.started, deadline=deadline, earlier=earlier)
        await self._begin(feed, turn)

    async def go_on(self) -> bool:
        """Go on with the turn that is offered; False: there is none."""
        if self._search.found is None:
            return False
        found = self._search.end()
        if found is None:
            return False
        feed = self._feed_of(lambda _: found.request, granted=found.granted)
        turn = Turn(
            found.question,
            found.budget,
            folded=self._preferences.folded,
            started=feed.started,
            deadline=found.seconds_left,
            earlier=found.earlier,
            thought_for=found.thought_for,
        )
        await self._begin(feed, turn)
        return True

    def _feed_of(self, make_request: Callable[[Responder], Request], *, granted: int | None = None) -> TurnFeed:
        return TurnFeed(self._slot.wait, make_request, Control(), lambda: self._tell(self.TurnNews()), granted=granted)

    async def _begin(self, feed: TurnFeed, turn: Turn) -> None:
        self._search.end()
        self._feed, self._turn = feed, turn
        await self.query_one(Conversation).add(turn)
        turn.thought.wait("reading" if self.ready else "waiting for the model")
        feed.start()
        if self._ticker is not None:
            self._ticker.resume()
        self.keys_changed()

    async def on_question_box_sent(self, event: QuestionBox.Sent) -> None:
        if self.busy:
            if self.give_hint(event.text):
                self.query_one(QuestionBox).accept(event.text)
            else:
                self.say_of_turn("Still answering: Esc stops it.")
            return
        self.query_one(QuestionBox).accept(event.text)
        await self.ask(event.text)

    async def on_example_chosen(self, event: Example.Chosen) -> None:
        if not self.busy:
            box = self.query_one(QuestionBox)
            box.accept(event.question)
            box.focus()
            await self.ask(event.question)

    # what comes back

    async def on_kangae_app_turn_news(self) -> None:
        await self._draw()

    async def _draw(self) -> None:
        async with self._drawing:
            feed, turn = self._feed, self._turn
            if feed is None or turn is None or not self.is_running:  # while it ends, its widgets go one by one
                return
            thought = self.thinks
            await turn.apply(feed.take())
            turn.tick(monotonic(), feed.asked)
            self.query_one(StatusLine).show_speed(turn.tokens_per_second)
            if turn.over:
                self._end_turn(feed, turn)
            elif thought != self.thinks:
                self.keys_changed()

    def _end_turn(self, feed: TurnFeed, turn: Turn) -> None:
        self._feed = None
        self.forget_said_of_turn()
        self._keeper.keep(feed, STOPPING_S)
        if self._ticker is not None:
            self._ticker.pause()
        self.keys_changed()
        reply = feed.last_reply()
        if reply is None:
            return
        usage, responder = reply.usage, self._slot.responder
        used = usage.prompt_tokens + usage.thinking_tokens + usage.forced_tokens + usage.answer_tokens
        self.query_one(StatusLine).show_context(used, responder.context if responder is not None else 0)
        if reply.answer.strip():
            self._history = [*turn.earlier, Said("user", turn.question), Said("assistant", reply.answer)]

    def _stop_and_keep(self, seconds: float) -> None:
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.control.cancel()
            self._keeper.keep(feed, seconds)

    def _tell_not_kept(self, error: KangaeError) -> None:
        self.warn(error.detail, title="The conversation is not kept")

    async def on_kangae_app_model_news(self) -> None:
        slot, status = self._slot, self.query_one(StatusLine)
        if slot.responder is not None:
            facts = slot.responder.facts
            if self._effort is not None:
                self.set_budget(effort_tokens(self._effort, facts))
            status.show_model(one_line(" · ".join(part for part in (facts.name, facts.quant) if part)))
            self._search.begin(facts.file, slot.responder.context)
        elif slot.error is not None:
            status.show_model("no model")
            if not self.busy:
                await self.query_one(Conversation).add(Note.of_error(slot.error))
        else:
            part = f" {slot.loaded:.0%}" if slot.loaded else ""
            status.show_model(one_line(f"loading {Path(self._model_name).name or 'the model'}{part} …"))

    async def on_kangae_app_offer_news(self) -> None:
        found, error = self._search.found, self._search.error
        if found is not None:
            await self.query_one(Conversation).offer(Note(found.offer))
        elif error is not None:
            await self.query_one(Conversation).offer(Note.of_error(error))
        self.keys_changed()

    # keys

    def offers(self, action: str) -> bool:
        """Whether an action would do something now."""
        if action == "pause" and self._search.found is not None:
            return True
        if action == "copy_answer":
            return any(turn.answer.text.strip() for turn in self.query(Turn))
        return super().offers(action)

    def keys_changed(self) -> None:
        """Other keys do something than before, Enter among them."""
        super().keys_changed()
        self.query_one(QuestionBox).invite(busy=self.busy, thinks=self.thinks)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Esc is there while a turn is under way; the other keys that steer one say so where there is none."""
        return self.busy if action == "stop" else True

    def action_next_budget(self) -> None:
        """Go to the next smaller budget, from off to unlimited."""
        self.set_budget(smaller_budget(self.budget, self._budget_steps()))

    def action_larger_budget(self) -> None:
        """Go the other way."""
        self.set_budget(larger_budget(self.budget, self._budget_steps()))

    def _budget_steps(self) -> tuple[int | None, ...]:
        responder = self._slot.responder
        if responder is None:
            return budget_steps(0, self.options.budget)
        return budget_steps(responder.context, self.options.budget, thought_length(responder.facts))

    def set_budget(self, tokens: int | None, *, effort: str | None = None) -> None:
        """Thinking tokens from the next question on; `effort` in their place until the model is open."""
        self.budget, self._effort = tokens, effort
        self.query_one(StatusLine).show_budget(tokens, self.options.deadline)

    def on_budget_label_clicked(self, event: BudgetLabel.Clicked) -> None:
        event.stop()
        self.action_next_budget()

    def action_toggle_thought(self) -> None:
        """Show the newest thought, the whole of it, or fold it; thoughts to come follow it."""
        thought = self._turn.thought if self._turn is not None else None
        folded = self._preferences.folded is not True if thought is None else not (thought.folded or thought.cut)
        if thought is not None:
            thought.fold(folded, by_user=True)
        else:
            self.notify("Thoughts will be folded." if folded else "Thoughts will stay open.", markup=False)
        self._preferences = Preferences(folded)
        self._preferences.save(self._preferences_file)

    async def action_new_conversation(self) -> None:
        """Forget what was said; a turn under way is stopped, and kept in the conversation that it belongs to."""
        self.action_stop()
        self.forget_said_of_turn()
        async with self._drawing:
            self._stop_and_keep(STOPPING_S)
            self._turn = None
            self._history = []
            self._search.end()
            self._keeper.begin_conversation()
            if self._ticker is not None:
                self._ticker.pause()
            await self.query_one(Conversation).reset()
        responder = self._slot.responder
        self.query_one(StatusLine).show_context(0, responder.context if responder is not None else 0)
        self.keys_changed()
        self.query_one(QuestionBox).focus()

    def action_copy_answer(self) -> None:
        """Copy the newest answer, as its Markdown source."""
        text = next((turn.answer.text.strip() for turn in reversed(self.query(Turn)) if turn.answer.text.strip()), "")
        if text:
            self.copy_to_clipboard(text)
            self.notify("The answer is copied.", markup=False)
        else:
            self.notify("There is no answer to copy yet.", markup=False)

    def action_scroll_conversation(self, pages: int) -> None:
        """By so many pages, from the question box."""
        conversation = self.query_one(Conversation)
        if pages < -1:
            conversation.scroll_home()
        elif pages > 1:
            conversation.anchor()
        elif pages < 0:
            conversation.scroll_page_up()
        else:
            conversation.scroll_page_down()

    async def action_help(self) -> None:
        """The keys."""
        await self.push_screen(HelpScreen())

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette: Textual's own commands by their names, and the budgets from much to little."""
        yield from sorted(super().get_system_commands(screen), key=lambda command: command.title)
        for step in self._budget_steps():
            name = budget_name(step)
            yield SystemCommand(
                f"Budget {name}", "Thinking tokens from the next question on", lambda s=step: self.set_budget(s)
            )

    def _tell(self, message: Message) -> None:
        if self.is_running:
            self.post_message(message)
