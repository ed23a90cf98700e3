"""Makes the model that ships small in every way and writes what that cost into docs/quantization.md and the README.

    python scripts/quantize_card.py out/quantize-card   # an hour or two, alone on the machine; goes on where it stopped
    python scripts/quantize_card.py out/quantize-card --only-write

Forms are made by `kangae quantize` and measured by `kangae bench quant`, one after the other; see `scripts/card.py`.
The ONNX form is measured where the extra `onnx` is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import card
from card import ROOT, Documents, Figures, Measure, interval, percent, table

DOCUMENT, README = ROOT / "docs" / "quantization.md", ROOT / "README.md"
TYPES = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "Q2_K")
TEXTS = ("Q4_K_M", "Q3_K_M", "Q2_K")
"""Types that are calibrated on a generic text too."""
SHORT = TEXTS
GROUPS = (32, 128)
IMATRIX, COMPENSATED = "imatrix", "compensated"
WAYS = {IMATRIX: ("--no-compensate",), COMPENSATED: ("--compensate",)}
REFERENCE = "kangae-tiny:F16"
PROBLEMS = "200"
ONNX = "onnx_int4"


# --- measures


def measures(folder: Path) -> list[Measure]:
    """What is made and measured in the folder, in its order; without ONNX where that is neither installed nor there."""
    listed = all_measures(folder)
    if find_spec("onnxruntime_genai") is not None or (folder / f"{ONNX}_report.json").is_file():
        return listed
    return [measure for measure in listed if not measure.name.startswith(ONNX)]


def all_measures(folder: Path) -> list[Measure]:
    """As `measures`, whatever is installed."""
    forms = folder / "forms"
    generic = str(forms / "generic.txt")
    ways = {(kind, way): f"{kind}_{way}" for kind in TYPES for way in WAYS}
    own = [made(name, kind, forms, "--calibrate", "traces", *WAYS[way]) for (kind, way), name in ways.items()]
    packed = [measure for group in GROUPS for measure in gptq(group, forms)]
    on_text = [
        made(f"{kind}_{way}_generic", kind, forms, "--calibrate", generic, *WAYS[way]) for kind in TEXTS for way in WAYS
    ]
    files = [*ways.values(), *(f"gptq_g{group}_Q4_0" for group in GROUPS)]
    onnx = ["quantize", "kangae-tiny", "--to", "onnx:int4", "-o", str(forms / ONNX), "--force"]
    return [
        *own,
        *packed,
        report("report", [forms / f"{name}.gguf" for name in files]),
        Measure("generic", ["scripts/generic_text.py", generic], flags=()),
        *on_text,
        report("generic_report", [forms / f"{measure.name}.gguf" for measure in on_text]),
        Measure(ONNX, onnx, flags=()),
        report(f"{ONNX}_report", [forms / ONNX]),
    ]


def made(name: str, kind: str, forms: Path, *flags: str) -> Measure:
    """One GGUF of the model that ships."""
    return Measure(
        name,
        ["quantize", "kangae-tiny", "--to", f"gguf:{kind}", *flags, "-o", str(forms / f"{name}.gguf"), "--force"],
        flags=(),
    )


def gptq(group: int, forms: Path) -> list[Measure]:
    """A GPTQ folder, and the same integers as GGUF, with an embedding like that of the other forms."""
    name = f"gptq_g{group}"
    folder, file = str(forms / name), str(forms / f"{name}_Q4_0.gguf")
    packing = ["quantize", folder, "--to", "gguf:Q4_0", "--embedding-type", "Q8_0", "-o", file, "--force"]
    return [
        Measure(name, ["quantize", "kangae-tiny", "--to", f"gptq:4:g{group}", "-o", folder, "--force"], flags=()),
        Measure(f"{name}_Q4_0", packing, flags=()),
    ]


def report(name: str, forms: Sequence[Path]) -> Measure:
    """Forms held against the F16 that they were made from."""
    command = ["bench", "quant", *map(str, forms), "-m", REFERENCE, "-n", PROBLEMS]
    return Measure(name, command, flags=())


# --- tables


def rows_by_name(found: Figures) -> Mapping[str, Figures]:
    """The rows of a report by the names of their files; the reference's as `F16`."""
    return {"F16" if row["reference"] else Path(row["file"]).name.removesuffix(".gguf"): row for row in found["rows"]}


def nats(value: float | None) -> str:
    """A divergence, in thousandths of a nat: those of this model are small."""
    return "–" if value is None else f"{1000 * value:.3g}"


def milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{1000 * value:.0f}"


def forms_table(found: Figures) -> str:
    """Every form of the model that ships, the reference first."""
    rows = rows_by_name(found["report"])
    if f"{ONNX}_report" in found:
        rows = {**rows, **{name: row for name, row in rows_by_name(found[f"{ONNX}_report"]).items() if name == ONNX}}
    named: list[tuple[str, str, str, str | None]] = [("F16", "F16", "as it is", None)]
    named += [
        (f"{kind}_{way}", kind, "importance matrix" if way == IMATRIX else "compensated", f"{kind}_{way}")
        for kind in TYPES
        for way in WAYS
    ]
    named += [(f"gptq_g{group}_Q4_0", "Q4_0", f"GPTQ, groups of {group}", f"gptq_g{group}") for group in GROUPS]
    named += [(ONNX, "ONNX int4", "GPTQ, groups of 32", ONNX)] if ONNX in rows else []
    cells = []
    for name, kind, how, making in named:
        row = rows[name]
        cells.append((
            kind, how, f"{row['bytes']:,}", f"{row['bpw']:.2f}", nats(row["kl_thinking"]), nats(row["kl_answer"]),
            nats(row["kl_p99"]), "–" if row["top1"] is None else percent(row["top1"]), percent(row["accuracy"]),
            interval(row), f"{row['thinking_tokens']:.0f}", f"{row['decode_tps']:.0f}",
            milliseconds(row["seconds_per_correct"]), "–" if making is None else f"{found[making]['seconds']:.0f}",
        ))  # fmt: skip
    head = (
        "type", "rounding", "bytes", "bits per weight", "KL, thoughts", "KL, answers", "KL, 99th percentile",
        "same token %", "right %", "95 %", "thinking tokens", "tokens/s", "ms per right answer", "made in s",
    )  # fmt: skip
    report = found["report"]
    told = f"n = {report['n']:,} problems; KL (thousandths of a nat) over {report['kl_tokens']:,} tokens that F16 said."
    if ONNX not in rows:
        told += " ONNX was not measured: the extra `onnx` was not installed."
    return f"{table(head, cells)}\n\n{told}"


def worth_table(found: Figures) -> str:
    """What compensation is worth at each type: the bytes are the same."""
    rows = rows_by_name(found["report"])
    cells = []
    for kind in TYPES:
        plain, better = (rows[f"{kind}_{way}"] for way in WAYS)
        gain = 100 * (better["accuracy"] - plain["accuracy"])
        cells.append((
            kind, f"{better['bytes'] - plain['bytes']:+,}", nats(plain["kl_thinking"]), nats(better["kl_thinking"]),
            share(better["kl_thinking"], plain["kl_thinking"]), f"{gain:+.1f}",
            f"{plain['thinking_tokens']:.0f} → {better['thinking_tokens']:.0f}",
        ))  # fmt: skip
    head = (
        "type", "bytes more", "KL in thoughts, importance matrix", "compensated", "share that is left",
        "right answers (points)", "thinking tokens",
    )  # fmt: skip
    return table(head, cells)


def texts_table(found: Figures) -> str:
    """The same types on the model's own thoughts and on a generic text."""
    own, generic = rows_by_name(found["report"]), rows_by_name(found["generic_report"])
    cells = []
    for kind in TEXTS:
        for way in WAYS:
            on_thoughts, on_text = own[f"{kind}_{way}"], generic[f"{kind}_{way}_generic"]
            cells.append((
                kind, "importance matrix" if way == IMATRIX else "compensated",
                nats(on_text["kl_thinking"]), nats(on_thoughts["kl_thinking"]),
                share(on_thoughts["kl_thinking"], on_text["kl_thinking"]),
                *(f"{percent(row['accuracy'])} ({interval(row)})" for row in (on_text, on_thoughts)),
                *(f"{row['thinking_tokens']:.0f}" for row in (on_text, on_thoughts)),
            ))  # fmt: skip
    head = (
        "type", "rounding", "KL in thoughts, generic text", "own thoughts", "share that is left",
        "right %, generic text (95 %)", "own thoughts", "thinking tokens, generic text", "own thoughts",
    )  # fmt: skip
    text = found["generic"]
    told = f"The text: {text['signs']:,} signs of Python {text['python']}'s manual (`scripts/generic_text.py`)."
    return f"{table(head, cells)}\n\n{told}"


def share(part: float | None, whole: float | None) -> str:
    return "–" if not whole or part is None else f"{part / whole:.2f}"


def short_table(found: Figures) -> str:
    """The README's: what compensation saves of the loss, and of the answers."""
    rows = rows_by_name(found["report"])
    cells: list[Sequence[str]] = [
        ("F16", f"{rows['F16']['bytes'] / 1e6:.1f} MB", "0", "", f"{percent(rows['F16']['accuracy'])} %", "")
    ]
    for kind in SHORT:
        plain, better = (rows[f"{kind}_{way}"] for way in WAYS)
        cells.append((
            kind, f"{better['bytes'] / 1e6:.1f} MB", nats(plain["kl_thinking"]), nats(better["kl_thinking"]),
            *(f"{percent(row['accuracy'])} %" for row in (plain, better)),
        ))  # fmt: skip
    head = (
        "type",
        "size",
        "KL, importance matrix",
        "KL, compensated",
        "right, importance matrix",
        "right, compensated",
    )
    told = f"n = {found['report']['n']:,}; KL from F16's next token in thoughts, in thousandths of a nat."
    return f"{table(head, cells)}\n\n{told}"


def commands_table() -> str:
    """What made and measured each form."""
    cells = [(measure.name, measure.written()) for measure in all_measures(Path())]
    return table(("name", "command"), cells)


# --- write


def documents(found: Figures) -> Documents:
    """The figures of docs/quantization.md and of the README."""
    return {
        DOCUMENT: {
            "machine": f"Machine: {found['report']['device']}.",
            "forms": forms_table(found),
            "worth": worth_table(found),
            "texts": texts_table(found),
            "commands": commands_table(),
        },
        README: {"small": short_table(found)},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return card.run(__doc__ or "", measures, documents, lanes=1, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())
