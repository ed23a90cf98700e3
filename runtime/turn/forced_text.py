"""What a turn puts into its sequence by force, as ids: how a thought is opened and closed, and hints."""

from __future__ import annotations

from models.family import Family
from runtime.backends.backend import Vocabulary
from runtime.phase import Phase
from runtime.prompt import MarkerCutter, Prompt
from runtime.request import Request


class ForcedText:
    """One family's texts in one vocabulary. `message`: a forced close says the family's closing message first."""

    def __init__(self, family: Family, vocabulary: Vocabulary, *, message: bool) -> None:
        self._family = family
        self._vocabulary = vocabulary
        closer = family.closer + family.after_closer
        close = family.forced_close if message else closer
        self.closing = self.tokens(close)
        """The forced close of a thought that goes on."""
        stem = family.answer_stem
        self.trial = self.closing if stem is None else self.tokens(close + stem.text)
        """The forced close of a fork, and the beginning of the answer that it tries."""
        self.trial_mark = "" if stem is None else stem.mark
        """What ends such an answer besides the end of the turn; "": nothing."""
        self.closer = self.tokens(family.closer)[0]
        """The id with which the closer begins."""

    def tokens(self, text: str) -> tuple[int, ...]:
        """Ids of a text of the family's own, in which tags act."""
        return tuple(self._vocabulary.tokenize(text, markers=True)) if text else ()

    def opening(self, request: Request, prompt: Prompt) -> tuple[int, ...]:
        """What is forced behind the prompt.

        That is the thought to go on from, if one is given, and the opener before it; or the opener alone, where a least
        thought is asked for and the model might not open one. (An empty thought, with thinking off, is in the prompt.)
        """
        given = bool(request.thinking or request.thinking_closed)
        wanted = given or (request.budget.minimum > 0 and self._family.off != "none")
        if request.budget.off or not wanted or (prompt.starts_in_thinking and not given):
            return ()
        opener = "" if prompt.starts_in_thinking else self._family.opener + "\n"
        thought = MarkerCutter(self._vocabulary).content_ids(request.thinking) if request.thinking else []
        return (
            *self.tokens(opener),
            *thought,
            *(self.own_close(request.thinking) if request.thinking_closed else ()),
        )

    def own_close(self, thought: str) -> tuple[int, ...]:
        """The closer as the model itself would write it behind a thought with this end."""
        newline = "" if thought.endswith("\n") else "\n"
        return self.tokens(newline + self._family.closer + self._family.after_closer)

    def close(self, phase: Phase, tail: str, *, message: bool) -> tuple[int, ...]:
        """What ends the thought in this phase; `tail` is its end. Without `message` it has ended by itself."""
        if phase is Phase.BEFORE:
            return self.tokens(self._family.empty_block) if self._family.off != "none" else ()
        return self.closing if message else self.own_close(tail)

    def hint(self, text: str, tail: str) -> tuple[str, tuple[int, ...]]:
        """A user's hint as a line of its own behind a thought with the end `tail`: its text and ids, in which no tag
        acts."""
        line = text.strip() + "\n"
        line = line if tail.endswith("\n") or not tail else "\n" + line
        return line, tuple(MarkerCutter(self._vocabulary).content_ids(line))
