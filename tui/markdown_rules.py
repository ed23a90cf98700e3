"""How model text is read as Markdown: as people mean it in a chat, and losing nothing of it."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline


def make_parser() -> MarkdownIt:
    """GitHub's Markdown with three changes.

    Tags stay text (the widget would drop them), line ends stay line ends (joining Japanese lines with a blank is
    wrong), and a star between numbers is a product: `2*3*4` would lose its stars.
    """
    parser = MarkdownIt("gfm-like", {"html": False})
    parser.inline.ruler.before("emphasis", "product", _product)
    parser.core.ruler.push("line_ends", _keep_line_ends)
    return parser


def _product(state: StateInline, silent: bool) -> bool:
    source, place = state.src, state.pos
    if source[place] != "*" or not 0 < place < len(source) - 1:
        return False
    before, after = source[place - 1], source[place + 1]
    if not (before.isdigit() or before == ")") or not (after.isdigit() or after == "("):
        return False
    if not silent:
        state.pending += "*"
    state.pos += 1
    return True


def _keep_line_ends(state: StateCore) -> None:
    for token in state.tokens:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"
