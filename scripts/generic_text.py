"""Writes a text that is about nothing a model was taught: what Python's own manual says of the language.

    python scripts/generic_text.py out/generic.txt

It comes with every Python (`pydoc_data`), so that figures of a calibration on generic text can be taken anywhere.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics

from models.whole_file import write_whole


def generic_text() -> str:
    """All topics in the order of their names: some 450,000 signs of technical English."""
    return "\n\n".join(topics[name].strip() for name in sorted(topics)) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, help="where it is written")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    text = generic_text()
    try:
        options.file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(options.file, text)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found = {
        "file": str(options.file),
        "python": platform.python_version(),
        "signs": len(text),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    print(json.dumps(found) if options.json else ", ".join(f"{name} {value}" for name, value in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
