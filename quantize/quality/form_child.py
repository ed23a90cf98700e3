"""One measurement of one form in a process of its own: `python -m quantize.quality.form_child JOB`.

Writes what it found as JSON to the job's `result`, or `{"error": {…}}`; how far it is, 0 to 1, to its `steps`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from models.errors import KangaeError, ResourceError
from quantize.child import end_with_parent


def main(arguments: list[str]) -> int:
    """Do the job; the exit code is that of its error."""
    job: dict[str, Any] = json.loads(arguments[0])
    end_with_parent([job["result"], job["steps"]])
    steps = Path(job["steps"])

    def tell(share: float) -> None:
        steps.write_text(f"{share:.4f}")

    try:
        found = _compared(job, tell) if job["kind"] == "divergence" else _answered(job, tell)
        code = 0
    except KangaeError as error:
        found, code = dict(error.as_json()), error.exit_code
    except MemoryError:
        short = ResourceError("The memory is used up; close other programs, or raise its limit.")
        found, code = dict(short.as_json()), short.exit_code
    Path(job["result"]).write_text(json.dumps(found), encoding="utf-8")
    return code


def _answered(job: dict[str, Any], tell: Any) -> dict[str, Any]:
    from quantize.quality.answering import measure_answers
    from runtime.problems import require_problems

    return measure_answers(job, require_problems(job["problems"]), tell)


def _compared(job: dict[str, Any], tell: Any) -> dict[str, Any]:
    from quantize.quality.comparison import LONGEST, ROWS, compare, held_out_texts
    from quantize.quality.divergence import summarize
    from quantize.quality.open_form import open_form

    replies = json.loads(Path(job["replies"]).read_text("utf-8"))["replies"]
    longest = max((one["prompt_tokens"] + one["tokens"] for one in replies), default=0)
    context = min(LONGEST, longest + 64)
    opened = []
    try:
        for name in (job["reference"], job["name"]):
            opened.append(
                open_form(name, context=context, rows=ROWS, threads=job["threads"], gpu_layers=job["gpu_layers"])
            )
        reference, other = opened
        texts = held_out_texts(reference, replies, job["system"], job["kl_tokens"])
        return summarize(compare(reference.backend, other.backend, texts, tell))
    finally:
        for one in opened:
            one.backend.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
