"""All of a turn that follows from its log alone: phase, counts, what was said, what the rules remember."""

from __future__ import annotations

from collections.abc import Iterable

from runtime.backends.backend import Vocabulary
from runtime.control.steering import Steering
from runtime.control.thinking_control import ThinkingControl
from runtime.phase import Phase, PhaseTracker, Piece
from runtime.prompt import Prompt
from runtime.request import Request
from runtime.turn.decisions import Mark
from runtime.turn.forced_text import ForcedText
from runtime.turn.log import AskedTrial, Drew, ForcedClose, GotTrial, LookedAt, PutHint, RaisedBudget, Step
from runtime.turn.tally import Tally
from runtime.turn.transcript import Transcript


class TurnState:
    """Changed by steps: the same steps always make the same state, whenever and wherever they are done.

    `opened`: how many ids were forced before the first draw.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        end_ids: frozenset[int],
        *,
        tracker: PhaseTracker,
        control: ThinkingControl,
        steering: Steering,
        said: Transcript,
        opened: int,
    ) -> None:
        self.tracker = tracker
        self.control = control
        self.steering = steering
        self.said = said
        self.log: list[Step] = []
        self.marks: list[Mark] = []
        """Its steps but the draws."""
        self.start = tracker.phase
        """The phase that the prompt left open."""
        self.opened = self.forced_tokens = opened
        self.granted = 0
        """Thinking tokens that were added to the budget."""
        self.hinted = 0
        """Hints that were put in or left out."""
        self.hinted_at = -1
        """Thinking tokens when the last hint was put in."""
        self.tally = Tally()
        self.looked_at = -1
        """Thinking tokens at the last look at the closer's margin."""
        self.log_probabilities: list[float] = []
        """Of the answer's tokens, where the reply tells how sure it is."""
        self._vocabulary = vocabulary
        self._end_ids = end_ids

    def open(self, request: Request, prompt: Prompt, forced: ForcedText) -> None:
        """The opening was put in behind the prompt."""
        if request.thinking or not prompt.starts_in_thinking:
            piece = self.tracker.put_thought(request.thinking)
            self._say([piece] if piece.text else [])
        if request.thinking_closed:
            self._say(self._feed(forced.own_close(request.thinking)))

    def do(self, step: Step) -> None:
        """One step, now or again; it is added to the log."""
        tracker, control, steering = self.tracker, self.control, self.steering
        before = tracker.thinking_tokens
        match step:
            case Drew():
                self._again(step)
            case ForcedClose():
                control.close = control.close or step.reason
                tracker.drop_held()
                self.forced_tokens += len(step.ids)
                self._say(self._feed(step.ids))
            case PutHint():
                self.hinted += 1
                if step.ids:
                    self.hinted_at = before
                    control.occupy(len(step.ids))
                    self.forced_tokens += len(step.ids)
                    self._say([tracker.put_thought(step.text)])
            case RaisedBudget():
                control.grant(step.tokens)
                self.granted += step.tokens
            case LookedAt():
                self.looked_at = tracker.thinking_tokens
                if steering.soft is not None and self.looked_at >= control.limits.minimum:
                    steering.soft.seen(step.margin)
            case AskedTrial() if steering.trials is not None:
                steering.trials.asked(tracker.thinking_tokens)
            case GotTrial() if steering.trials is not None:
                steering.trials.told(step.answer)
        self.note(step, before)

    def note(self, step: Step, before: int) -> None:
        """A step was done: it stands in the log; a draw, behind so many thinking tokens, in the tally, and any other
        one among the marks."""
        self.log.append(step)
        if isinstance(step, Drew):
            self.tally.count(step, before)
        else:
            self.marks.append((self.tracker.thinking_tokens, step))

    def hear(self, token: int) -> bool:
        """A token was drawn that ends nothing: count it, tell its text. Whether it is one of the answer."""
        tracker, piece = self.tracker, self._vocabulary.piece(token)
        thought = tracker.phase is Phase.THINKING
        pieces = tracker.feed(token, piece)
        if thought and tracker.phase is not Phase.THINKING and self.steering.lifted:
            self.control.close = self.control.close or "soft"
        self._say(pieces)
        if thought is (tracker.phase is Phase.THINKING):  # a token that opens or closes belongs to neither
            told = self.steering.said if thought else self.steering.answered
            told(token, piece.decode("utf-8", "replace"))
        return tracker.phase is Phase.ANSWER and not thought

    def finish(self) -> None:
        """Tell what is held back; nothing more comes."""
        self._say(self.tracker.finish())

    def _again(self, step: Drew) -> None:
        """A draw of the log. (One that is under way is heard, and then logged with what came of it.)"""
        if step.token in self._end_ids:
            return  # it ended a thought: the close that takes it back comes next
        self.steering.lifted = step.lifted
        self.hear(step.token)
        if self.tracker.phase is Phase.ANSWER:
            self.control.close = self.control.close or "natural"
        if step.log_probability is not None:
            self.log_probabilities.append(step.log_probability)

    def _feed(self, ids: Iterable[int]) -> list[Piece]:
        pieces: list[Piece] = []
        for token in ids:
            pieces += self.tracker.feed(token, self._vocabulary.piece(token), forced=True)
        return pieces + self.tracker.finish()

    def _say(self, pieces: list[Piece]) -> None:
        self.said.say(pieces, self.control.close)
