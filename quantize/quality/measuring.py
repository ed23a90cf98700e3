"""Forms measured one after another, each in processes of its own, the reference first; kept, so that a run that was
broken off goes on where it stopped."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from models.errors import KangaeError, ModelError
from models.locations import cache_folder
from models.plural import counted
from models.whole_file import write_whole
from models.write_fault import write_error
from quantize.child import run_child
from quantize.quality.plan import FormFile, MeasureSettings
from quantize.quality.report import Report
from quantize.quality.row import FormRow

Progress = Callable[[str, float], None]
"""Told what is being measured, and what share of it is done (0 to 1)."""
_MODULE: Final = "quantize.quality.form_child"
_BUILDS: Final = ("llama-cpp-python", "onnxruntime", "torch")


def measure_forms(
    reference: FormFile, forms: Sequence[FormFile], settings: MeasureSettings, progress: Progress | None = None
) -> Report:
    """The report on `reference` and `forms`, in this order; a form that is the reference's file stands once.

    A form that fails, or ends its process, has a row that says so; what fails in the reference is raised (ModelError,
    ResourceError, MissingPackageError, UsageError), for without it there is nothing to hold the others against. Ctrl-C
    behind the reference gives what was measured so far. WriteError: the state cannot be kept.
    """
    tell = progress or (lambda what, share: None)
    measuring = _Measuring(reference, settings, tell)
    others = [one for one in forms if one.entry.path.resolve() != reference.entry.path.resolve()]
    first = measuring.reference_row()
    rows = [first]
    interrupted = False
    try:
        for number, form in enumerate(others, start=2):
            rows.append(measuring.row(form, f"{number}/{len(others) + 1} {form.label}"))
    except KeyboardInterrupt:
        interrupted = True
    return Report(tuple(rows), settings, measuring.machine, interrupted=interrupted)


class _Measuring:
    """The reference's replies, and where results are kept."""

    def __init__(self, reference: FormFile, settings: MeasureSettings, tell: Progress) -> None:
        from runtime import machine

        self._reference, self._settings, self._tell = reference, settings, tell
        self._state = settings.state or cache_folder() / "quality"
        self.machine = machine.probe(gpus=False).device
        self._builds = " ".join(f"{name} {_version(name)}" for name in _BUILDS)
        self._reference_sha = ""
        self._replies: Path | None = None

    def reference_row(self) -> FormRow:
        """Measured first. Raises what its opening and asking raise."""
        where = f"reference {self._reference.label}"
        self._reference_sha = _sha256(self._reference, self._settings.gpu_layers)
        row = self._with_answers(replace(_empty(self._reference), sha256=self._reference_sha, reference=True), where)
        return row

    def row(self, form: FormFile, where: str) -> FormRow:
        """All of one form; what fails is told in it."""
        row = _empty(form)
        try:
            row = replace(row, sha256=_sha256(form, self._settings.gpu_layers))
            row = self._with_answers(row, where)
        except KangaeError as error:
            row = _failed(row, error, "answers")
        if not self._settings.kl_tokens or not row.sha256:
            return row
        try:
            return replace(row, divergence=self._divergence(form, row.sha256, where))
        except KangaeError as error:
            return _failed(row, error, "divergence")

    def _with_answers(self, row: FormRow, where: str) -> FormRow:
        name = self._reference.name if row.reference else row.file
        count = counted(len(self._settings.problems), "problem")
        kept = self._kept("answers", row.sha256)
        job = {
            **self._job(name),
            "kind": "answers",
            "budget": self._settings.budget,
            "alone": self._settings.alone,
            "parallel": self._settings.parallel,
            "seeds": self._settings.seeds,
            "max_answer": self._settings.max_answer,
            "context": self._settings.context,
        }
        found = self._run(kept, job, f"{where}: {count}")
        if row.reference:
            self._replies = kept
        bits = row.bits_per_weight or row.bytes * 8 / max(1, int(found["parameters"]))
        return replace(row, answers=found, bits_per_weight=bits)

    def _divergence(self, form: FormFile, sha256: str, where: str) -> dict[str, Any]:
        kept = self._kept("divergence", self._reference_sha, sha256)
        job = {
            **self._job(form.name),
            "kind": "divergence",
            "reference": self._reference.name,
            "replies": str(self._replies),
            "kl_tokens": self._settings.kl_tokens,
        }
        return self._run(kept, job, f"{where}: divergence from {self._reference.label}")

    def _kept(self, kind: str, *shas: str) -> Path:
        key = self._settings.key(*shas, machine=self.machine, builds=self._builds)
        return (self._state / f"{kind}-{shas[-1][:12]}-{key[:24]}.json").resolve()

    def _job(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "system": self._settings.system,
            "threads": self._settings.threads,
            "gpu_layers": self._settings.gpu_layers,
        }

    def _run(self, kept: Path, job: Mapping[str, Any], told: str) -> dict[str, Any]:
        """What was kept of this job, else what a child finds now. Raises the child's error."""
        if not self._settings.fresh and (before := _read(kept)) is not None:
            self._tell(f"{told}: known", 1.0)
            return before
        self._tell(told, 0.0)
        try:
            self._state.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._state, prefix=".") as folder:
                result, steps, problems = (Path(folder).resolve() / name for name in ("result", "steps", "problems"))
                problems.write_text(self._problem_lines(), encoding="utf-8")
                own = {**job, "result": str(result), "steps": str(steps), "problems": str(problems)}
                ended = run_child(_MODULE, own, lambda: self._tell(told, _share(steps)))
                found = _read(result)
            if ended.code < 0:
                raise ModelError(
                    f"The process that ran {job['name']} was ended by signal {-ended.code}; "
                    "its form cannot be run here, or the memory did not suffice."
                )
            if found is None:
                raise ModelError(f"The process that ran {job['name']} ended (code {ended.code}) without a result.")
            if "error" in found:
                raise _ChildError(found["error"])
            write_whole(kept, json.dumps(found))
        except OSError as error:
            raise write_error(kept, error, "set KANGAE_CACHE_DIR to another folder") from error
        return found

    def _problem_lines(self) -> str:
        lines = []
        for one in self._settings.problems:
            own = {"id": one.id, "question": one.question, "expected": one.expected, "check": one.check}
            lines.append(json.dumps({**dict(one.fields), **own}, ensure_ascii=False))
        return "\n".join(lines) + "\n"


class _ChildError(KangaeError):
    """An expected failure, as a child told it."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(str(told["detail"]), title=str(told["title"]))
        self.exit_code = int(told["exit"])


def _empty(form: FormFile) -> FormRow:
    entry = form.entry
    bits = entry.header.bits_per_weight if entry.header is not None else 0.0
    return FormRow(form.form, form.label, str(entry.path), entry.bytes, bits)


def _failed(row: FormRow, error: KangaeError, measure: str) -> FormRow:
    told = {"measure": measure, "title": error.title, "detail": error.detail, "exit": error.exit_code}
    return replace(row, errors=(*row.errors, told))


def _sha256(form: FormFile, gpu_layers: int | None) -> str:
    """Of what is run: of a GPTQ folder that is repacked here, its GGUF."""
    from runtime.opening import find_hashed

    return find_hashed(form.name, None, gpu_layers)[1]


def _read(path: Path) -> dict[str, Any] | None:
    """What was kept; None where it is missing or damaged: it can be measured again."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _share(steps: Path) -> float:
    try:
        return min(1.0, float(steps.read_text()))
    except (OSError, ValueError):
        return 0.0


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "-"
