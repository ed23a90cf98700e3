"""What the interface remembers between sessions of how thoughts are shown."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Preferences:
    """`folded`: whether new thoughts are folded (True), stay open (False), or fold when a long one ends (None)."""

    folded: bool | None = None

    @classmethod
    def load(cls, path: Path | None) -> Preferences:
        """As saved; the defaults where nothing readable is there."""
        if path is not None:
            with suppress(OSError, ValueError, AttributeError):
                folded = json.loads(path.read_text(encoding="utf-8")).get("folded")
                return cls(folded if isinstance(folded, bool) else None)
        return cls()

    def save(self, path: Path | None) -> None:
        """Keep them; a disk that cannot be written only forgets."""
        if path is not None:
            with suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
