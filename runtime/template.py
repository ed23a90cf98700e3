"""Rendering of a model's chat template within bounds of time and size. Jinja2 is loaded on the first use."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from models.errors import ModelError, UsageError
from models.plain_text import strip_controls

if TYPE_CHECKING:
    from jinja2 import Template

MAX_SOURCE: Final = 512_000  # characters; the largest of the makers' templates hold 17,000
MAX_OUTPUT: Final = 1_000_000  # characters besides the messages' own text
TIME_LIMIT: Final = 5.0  # seconds; an honest template takes some milliseconds


class TemplateRefusedError(UsageError):
    """The chat template does not accept this conversation (its `raise_exception`)."""

    title = "Conversation refused by the model's chat template"


class _OutOfTime(BaseException):
    """Raised inside a rendering thread that has run too long."""


@lru_cache(maxsize=16)
def _compiled(source: str) -> Template:
    from runtime.sandbox import compile_template

    return compile_template(source)


class _Rendering(threading.Thread):
    """One rendering in a thread of its own, so that it can be ended."""

    def __init__(self, source: str, variables: Mapping[str, Any], limit: int) -> None:
        super().__init__(name="chat-template", daemon=True)
        self._source, self._variables, self._limit = source, variables, limit
        self.text = ""
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            from runtime.sandbox import render_bounded

            self.text = render_bounded(_compiled(self._source), self._variables, self._limit)
        except BaseException as error:  # handed to the thread that waits
            self.error = error

    def end(self) -> None:
        """Let the thread raise _OutOfTime at its next Python instruction."""
        if self.ident is not None and self.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.ident), ctypes.py_object(_OutOfTime))
            self.join(0.5)


def render_template(source: str, messages: Sequence[Mapping[str, str]], variables: Mapping[str, Any]) -> str:
    """Render a chat template over messages of `role` and `content`, with a generation prompt at the end.

    Raises TemplateRefusedError where the template refuses the conversation, ModelError where it is faulty or goes over
    MAX_SOURCE, MAX_OUTPUT or TIME_LIMIT.
    """
    if len(source) > MAX_SOURCE:
        raise ModelError(f"The model's chat template holds {len(source)} characters; use another file of the model.")
    values = {"tools": None, "documents": None, "add_generation_prompt": True, **variables}
    values["messages"] = [dict(message) for message in messages]
    limit = MAX_OUTPUT + 4 * sum(len(message["content"]) for message in messages)
    rendering = _Rendering(source, values, limit)
    rendering.start()
    rendering.join(TIME_LIMIT)
    if rendering.is_alive():
        rendering.end()
        raise ModelError(f"The model's chat template ran for over {TIME_LIMIT:g} s; use another file of the model.")
    if rendering.error is not None:
        raise _told(rendering.error) from rendering.error
    return rendering.text


def _told(error: BaseException) -> ModelError | TemplateRefusedError:
    from runtime.sandbox import Refused

    reason = strip_controls(str(error), lines=False, mark=" ")[:300] or type(error).__name__
    if isinstance(error, Refused):
        return TemplateRefusedError(f"The model's chat template says: {reason}")
    return ModelError(f"The model's chat template cannot be used ({reason}); use another file of the model.")
