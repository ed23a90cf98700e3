"""The teacher: draws a problem, words it, thinks it through, and lays it out as one conversation to learn from.

Modes of a lesson: the full thought; `off` (an empty thought); `cut` (the thought broken off anywhere and closed by
force); `altered` (another result written into a finished thought, which the answer must follow). Answering without or
with half a thought is thus in distribution and not an accident of format. A lesson in `read` ends after the first line
of its thought: many more wordings for few tokens.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from models.tiny.digits import Segment
from models.tiny.problem import DAYS, SKILLS, Language, Problem, draw
from models.tiny.thought import PHRASES, Mistake, Thought, refuse, think
from models.tiny.wording import Refusals, training_wordings

Mode = Literal["full", "off", "cut", "altered", "read"]
CLOSING_MESSAGE = "\nTime is up.\n"
_CLOSERS = ((CLOSING_MESSAGE + "</think>\n\n", 0.6), ("\n</think>\n\n", 0.2), ("</think>\n\n", 0.2))
_WEIGHTS: Mapping[str, float] = {
    "stock": 4.2, "takt": 1.8, "yield": 1.2, "clock": 1.2, "production": 2.0, "multiply": 2.8, "subtract": 2.4,
    "add": 2.6, "divide": 2.0, "sort": 1.4, "conversion": 1.2,
}  # fmt: skip
_MODES: Mapping[Mode, float] = {"full": 0.49, "cut": 0.09, "off": 0.05, "altered": 0.02, "read": 0.35}
_CHECKS = (0.28, 0.58, 0.11, 0.03)  # how often a thought is checked 0, 1, 2, 3 times
_MISTAKES: tuple[Mistake, ...] = ("none", "step", "reading")
_MISTAKE_WEIGHTS = (0.58, 0.22, 0.20)  # of full thoughts with a check
_SYSTEMS = (
    "You are a helpful assistant.", "You are Kangae.", "Answer briefly.", "You help people on a shop floor.",
    "Be concise.",
    "You are a factory assistant. Answer in the asker's language.",
    "あなたは親切なアシスタントです。", "簡潔に答えてください。",
    "あなたは工場の計算係です。", "Think carefully, then answer.",
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One lesson: its text in segments, the problem behind it (None: a refusal) and the mode."""

    segments: tuple[Segment, ...]
    question: str
    answer: str
    problem: Problem | None
    mode: Mode

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments)


class Teacher:
    """Draws lessons. A lesson is a function of the generator handed to `sample` alone."""

    def __init__(
        self, seed: int = 0, split: str = "train", *, skills: tuple[str, ...] | None = None, refusals: bool = True,
        hard: float = 0.05,
    ) -> None:  # fmt: skip
        if split not in ("train", "test"):
            raise ValueError(f"the split is {split!r}; it is 'train' or 'test'")
        self.seed, self._held_out, self._hard = seed, split == "test", hard
        self._skills = skills or SKILLS
        self._weights = [_WEIGHTS.get(skill, 1.0) for skill in self._skills]
        self._wordings = training_wordings()
        self._refusals = Refusals() if refusals else None

    def _question(self, rng: random.Random, language: Language) -> tuple[str, Problem | None]:
        if self._refusals is not None and rng.random() < 0.18:
            return self._refusals.ask(language, rng), None
        skill = rng.choices(self._skills, self._weights)[0]
        problem = draw(rng, skill, language, held_out=self._held_out, hard=rng.random() < self._hard)
        return self._wordings[language].ask(problem, rng)

    def sample(self, rng: random.Random) -> Sample:
        """One lesson."""
        language: Language = "en" if rng.random() < 0.58 else "ja"
        question, problem = self._question(rng, language)
        before = self._before(rng, language)
        prompt = before + f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        mode = rng.choices(tuple(_MODES), tuple(_MODES.values()))[0]
        if problem is None:
            mode = "full" if mode == "altered" else mode
            thought = refuse(language)
        else:
            checks = 0 if mode == "read" else rng.choices((0, 1, 2, 3), _CHECKS)[0]
            mistake = rng.choices(_MISTAKES, _MISTAKE_WEIGHTS)[0] if mode == "full" else "none"
            guesses = 0.0 if mode == "cut" else 0.25
            thought = think(problem, rng, checks=checks, mistake=mistake, wrong_guesses=guesses)
        segments, answer = _lay_out(mode, thought, language, rng)
        return Sample((Segment(prompt, False), *segments), question, answer, problem, mode)

    def _before(self, rng: random.Random, language: Language) -> str:
        """A system message and earlier turns, now and then."""
        text = f"<|im_start|>system\n{rng.choice(_SYSTEMS)}<|im_end|>\n" if rng.random() < 0.05 else ""
        if rng.random() < 0.08:
            for _ in range(rng.choice((1, 1, 2))):
                question, problem = self._question(rng, language)
                answer = PHRASES[language].refusal if problem is None else think(problem, rng, checks=0).answer
                text += f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"
        return text


def _lay_out(mode: Mode, thought: Thought, language: Language, rng: random.Random) -> tuple[list[Segment], str]:
    """The assistant's turn in segments, and its answer (which a lesson in `read` does not come to)."""
    answer = thought.answer
    if mode == "off":
        return [Segment("<think>\n\n</think>\n\n", False), Segment(f"{answer}<|im_end|>", True)], answer
    opening = Segment("<think>\n", True)
    if mode == "cut":
        text = thought.text
        text = text[: rng.randrange(len(text))]
        closer = rng.choices([c for c, _ in _CLOSERS], [w for _, w in _CLOSERS])[0]
        return [opening, Segment(text, True), Segment(closer, False), Segment(f"{answer}<|im_end|>", True)], answer
    if mode == "read":
        text = thought.text
        return [opening, Segment(text[: text.index("\n") + 1], True)], answer
    segments = list(thought.segments)
    if mode == "altered":
        text = thought.text
        so = PHRASES[language].so
        kept = text[: text.rindex(so) + len(so) - 1]  # its last character may be one token with what follows
        answer = alter(answer, language, rng)
        segments = [Segment(kept, True), Segment(f"{so[-1]}{answer}\n", False)]
    return [opening, *segments, Segment(f"</think>\n\n{answer}<|im_end|>", True)], answer


def alter(answer: str, language: Language, rng: random.Random) -> str:
    """Another answer of the same form."""
    pairs = {"yes": "no", "no": "yes", "はい": "いいえ", "いいえ": "はい"}
    if answer in pairs:
        return pairs[answer]
    if answer in DAYS[language]:
        return rng.choice([day for day in DAYS[language] if day != answer])
    while True:
        other = re.sub(r"\d+", lambda run: str(rng.randint(10 ** (len(run[0]) - 1), 10 ** len(run[0]) - 1)), answer)
        if ":" in answer:
            other = f"{rng.randrange(24):02d}:{5 * rng.randrange(12):02d}"
        if other != answer:
            return other
