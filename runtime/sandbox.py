"""The Jinja2 sandbox for chat templates: no access to objects, no list that grows, no text that explodes.

The template comes with a model file from anywhere. Jinja2's own sandbox (>= 3.1.6, for CVE-2025-27516) closes the way
to Python; what is added here bounds memory: every value that a template makes (a literal, a sum, a filter's or a call's
result, a macro's or a block's text) is weighed where it is made, so that none of more than MAX_VALUE lives on, however
often it holds the same part. Time and output are bounded by runtime.template. Settings and helpers follow transformers'
`apply_chat_template`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, ItemsView, Iterable, Mapping, Sequence, ValuesView
from datetime import datetime
from functools import wraps
from types import GeneratorType
from typing import Any, Final, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MAX_VALUE: Final = 4_000_000  # characters or items in one value
_MAX_INTEGER_BITS: Final = 4096
# Ways to widen a text that no maker's template uses.
_REFUSED_METHODS: Final = frozenset(
    {"format", "format_map", "center", "ljust", "rjust", "zfill", "expandtabs", "translate"}
)
_REFUSED_FILTERS: Final = ("center", "format", "wordwrap", "batch", "slice", "pprint", "urlize", "xmlattr")


class Refused(TemplateError):
    """The template itself refused the conversation by `raise_exception`."""


def _weight(value: Any) -> int:
    """Characters and items of a value, those of a part that stands in it twice counted twice; raises SecurityError
    over MAX_VALUE."""
    total, left = 0, [value]
    while left:
        part = left.pop()
        if isinstance(part, str):
            total += len(part)
        elif isinstance(part, Mapping):
            total += len(part)
            left += (*part.keys(), *part.values())
        elif isinstance(part, list | tuple | set | frozenset | ValuesView | ItemsView):
            total += len(part)
            left += part
        elif isinstance(part, Namespace):
            left.append(part._Namespace__attrs)
        total += 1
        _bounded(total + len(left))
    return total


def _weighed(value: Any) -> Any:
    """`value`, if it is not too heavy."""
    if isinstance(value, str):
        _bounded(len(value))
    else:
        _weight(value)
    return value


def _bounded(size: int) -> None:
    if size > MAX_VALUE:
        raise SecurityError(f"a value of {size} characters or items, over the limit of {MAX_VALUE}")


def _gathered(parts: Iterable[Any]) -> list[Any]:
    """What an iterator gives, weighed as it comes."""
    found, total = [], 0
    for part in parts:
        total += _weight(part)
        _bounded(total)
        found.append(part)
    return found


def _concat(parts: Iterable[str]) -> str:
    """The text of a macro or a block."""
    return "".join(_gathered(parts))


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    found = text.count(old)
    _bounded(len(text) + len(new) * (found if count < 0 else min(found, count)))
    return text.replace(old, new, count)


def _join(separator: str, parts: Any) -> str:
    texts = _gathered(str(part) for part in parts)
    _bounded(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def _join_filter(value: Any, d: str = "", attribute: str | None = None) -> str:
    return _join(d, (part[attribute] for part in value) if attribute else value)


def _indent(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    margin = width if isinstance(width, str) else " " * min(width, 64)
    _bounded(len(text) + (text.count("\n") + 1) * len(margin))
    lines = [margin + line if index and (blank or line) else line for index, line in enumerate(text.split("\n"))]
    return (margin if first else "") + "\n".join(lines)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja2's own filter escapes for HTML, which no chat template means."""
    indent = None if indent is None else min(int(indent), 8)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: object = "") -> NoReturn:
    raise Refused(str(message))


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(str(form)[:200])


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks what a model wrote, for training; here it is its content alone."""

    tags: set[str] = {"generation"}  # noqa: RUF012 (Jinja2 declares it an instance attribute)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _bounded_filter(real: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose result is weighed, and what a lazy filter before it gives. `wraps` keeps Jinja2's marks on it."""

    @wraps(real)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        return _weighed(real(*(_gathered(one) if isinstance(one, GeneratorType) else one for one in args), **kwargs))

    return bounded


class _Generator(CodeGenerator):
    """Sends `a ~ b` and literals of lists, tuples and dicts through the sandbox, which otherwise sees only `a + b`."""

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self.write("environment.weighed(")
        super().visit_List(node, frame)
        self.write(")")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self.write("environment.weighed(")
        super().visit_Dict(node, frame)
        self.write(")")

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        made = node.ctx == "load"  # else it names the targets of an assignment
        self.write("environment.weighed(" if made else "")
        super().visit_Tuple(node, frame)
        self.write(")" if made else "")

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concatenated((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """The environment in which chat templates are compiled and rendered."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"+", "*", "**", "%"})
    concat = staticmethod(_concat)
    weighed = staticmethod(_weighed)

    def __init__(self) -> None:
        extensions: list[str | type[Extension]] = ["jinja2.ext.loopcontrols", _Generation]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, cache_size=0)
        self.globals.pop("lipsum", None)
        self.globals.update(raise_exception=_raise_exception, strftime_now=_strftime_now)
        for name in _REFUSED_FILTERS:
            self.filters.pop(name, None)
        self.filters.update(tojson=_tojson, replace=_replace, join=_join_filter, indent=_indent)
        self.filters.update({name: _bounded_filter(real) for name, real in self.filters.items()})

    def concatenated(self, parts: Sequence[Any]) -> str:
        """`a ~ b`."""
        return _join("", parts)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic within bounds."""
        if operator == "+":
            _bounded(_weight(left) + _weight(right))
        elif operator == "%" and isinstance(left, str):
            raise SecurityError("text formatting by %")
        elif operator in ("*", "**"):
            self._check_product(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def _check_product(self, operator: str, left: Any, right: Any) -> None:
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * abs(right) if operator == "**" else left.bit_length() + right.bit_length()
            if bits > _MAX_INTEGER_BITS:
                raise SecurityError("an integer of too many digits")
        elif isinstance(right, int):
            _bounded(_weight(left) * right)
        elif isinstance(left, int):
            _bounded(_weight(right) * left)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Nothing is wrapped: `format` is refused with the other methods that widen a text."""
        return None

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Refuses what reaches into Python and what widens a text without bounds."""
        if isinstance(obj, str) and attr in _REFUSED_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls of a template; the text methods that can multiply a text are bounded."""
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            name = getattr(__obj, "__name__", "")
            if name == "replace":
                return _replace(owner, *args)
            if name == "join":
                return _join(owner, *args)
        return _weighed(super().call(__context, __obj, *args, **kwargs))


def compile_template(source: str) -> Template:
    """The compiled template; raises jinja2.TemplateError where it is faulty."""
    return TemplateSandbox().from_string(source)


def render_bounded(template: Template, variables: Mapping[str, Any], limit: int) -> str:
    """The rendered text; raises SecurityError once it is longer than `limit` characters."""
    parts: list[str] = []
    size = 0
    for part in template.generate(**variables):
        size += len(part)
        if size > limit:
            raise SecurityError(f"an output of more than {limit} characters")
        parts.append(part)
    return "".join(parts)
