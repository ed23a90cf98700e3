from __future__ import annotations

import json
from typing import Any

import pytest

from models.errors import ModelError
from runtime import template
from runtime.template import TemplateRefusedError, render_template

HELLO = [{"role": "user", "content": "hello"}]


def render(source: str, messages: list[dict[str, str]] | None = None, **variables: Any) -> str:
    return render_template(source, HELLO if messages is None else messages, variables)


def test_blocks_are_trimmed_as_transformers_does() -> None:
    source = "{% for message in messages %}\n    {% if true %}\n{{ message.content }}\n    {% endif %}\n{% endfor %}"
    assert render(source) == "hello\n"


def test_helpers_of_chat_templates() -> None:
    assert render("{{ {'b': '<é>', 'a': 1} | tojson }}") == '{"b": "<é>", "a": 1}'
    assert json.loads(render("{{ [1, {'x': none}] | tojson(indent=2) }}")) == [1, {"x": None}]
    assert render("{% for i in range(5) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}") == "01"
    assert render("{% generation %}{{ messages[0].content }}{% endgeneration %}") == "hello"
    assert len(render("{{ strftime_now('%Y') }}")) == 4
    assert render("{{ add_generation_prompt }} {{ tools is none }} {{ switch }}", switch=False) == "True True False"
    assert render("{{ 'a' ~ 1 ~ none ~ messages[0].role }}") == "a1Noneuser"
    assert render("{{ 'a-b-c'.replace('-', '+') }}{{ 'aa' | replace('a', 'b', 1) }}") == "a+b+cba"
    assert render("{{ ['x', 'y'] | join(', ') }}{{ '/'.join(['p', 'q']) }}") == "x, yp/q"
    assert render("{% for m in messages %}{{ (m.content + '/no').replace('/no', '').strip() }}{% endfor %}") == "hello"


def test_a_refusal_is_told_in_the_templates_words() -> None:
    with pytest.raises(TemplateRefusedError, match="roles must alternate") as caught:
        render("{{ raise_exception('roles must alternate\x1b') }}")
    assert caught.value.exit_code == 2
    assert "\x1b" not in caught.value.detail


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__ }}{{ cycler.__init__.__globals__.os.getcwd() }}",
        "{{ ('%s' | attr('format_map'))(messages) }}",
        "{{ 'x{0.__class__}'.format(1) }}",
        "{% include '/etc/passwd' %}",
        "{{ (raise_exception | attr('__globals__')).x }}",
    ],
)
def test_no_way_into_python(source: str) -> None:
    with pytest.raises(ModelError):
        render(source)


GROW = "{% set ns = namespace(x='\\\\') %}{% for i in range(60) %}{% set ns.x = "
GROWN = " %}{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 10**9 }}",
        "{{ 10**(10**10) }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{{ 'a'.ljust(10**9) }}",
        "{{ 'a' | center(1000000000) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ ('a' * 3000000).replace('a', 'b' * 3000000) }}",
        "{{ ('a' * 3000000) | replace('a', 'b' * 3000000) }}",
        "{{ ('a' * 3000000) | join('b' * 3000000) }}",
        f"{GROW}[ns.x, ns.x]{GROWN}{{{{ ns.x }}}}",
        f"{GROW}(ns.x, ns.x){GROWN}{{{{ ns.x == ns.x | list }}}}",
        f"{GROW}{{'a': ns.x, 'b': ns.x}}{GROWN}{{{{ ns.x | string }}}}",
        f"{GROW}dict(a=ns.x, b=ns.x){GROWN}{{{{ ns.x | tojson }}}}",
        f"{GROW}namespace(a=ns.x, b=ns.x){GROWN}{{{{ ns.x }}}}",
        f"{GROW}ns.x | tojson{GROWN}{{{{ ns.x | length }}}}",
        f"{GROW}[ns.x, ns.x] | map('string') | list{GROWN}{{{{ ns.x | length }}}}",
        "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}" + f"{GROW}twice(ns.x){GROWN}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}"
        "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}",
        "{{ (['a' * 1000000] * 1000) | map('upper') | list | length }}",
        "{% for i in range(90000) %}{{ 'abcdefghijklmnopqrstuvwxyz' }}{% endfor %}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{{ nothing.there }}",
        "{% if %}",
        "{{ " + "(" * 2000 + ")" * 2000 + " }}",
        "a" * 600_000,
    ],
)
def test_bounds_and_faults(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "TIME_LIMIT", 2.0)  # what doubles 60 times would outlive any limit inside one C call
    with pytest.raises(ModelError):
        render(source)


def test_an_endless_template_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "TIME_LIMIT", 0.1)
    with pytest.raises(ModelError, match="ran for over"):
        render("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}")
    assert render("{{ messages[0].content }}") == "hello"


def test_long_messages_pass() -> None:
    long = "x" * 2_000_000
    assert render("{{ messages[0].content }}", [{"role": "user", "content": long}]) == long
