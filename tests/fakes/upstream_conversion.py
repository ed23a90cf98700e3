"""llama.cpp's own converter on several folders, in a process of its own: python upstream_conversion.py SOURCE JOBS.

SOURCE: an unpacked llama.cpp; JOBS: a JSON file, a list of {"folder", "target", "type", "pre"}. The pre-tokenizer is
given, because that converter tells it from a hash that only published vocabularies have. Folders without a
tokenizer.model are converted without the sentencepiece package too, which that converter imports before it looks.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import types
from pathlib import Path


def main() -> None:
    """Convert each folder; the first fault ends the run with its traceback."""
    source, jobs = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    sys.path[:0] = [str(source), str(source / "gguf-py")]
    if importlib.util.find_spec("sentencepiece") is None:
        absent = types.ModuleType("sentencepiece")
        absent.SentencePieceProcessor = None  # type: ignore[attr-defined]
        sys.modules["sentencepiece"] = absent
    import gguf
    import torch
    import transformers

    automatic = transformers.AutoTokenizer.from_pretrained

    conversion = importlib.import_module("conversion")

    kinds = {
        "f32": gguf.LlamaFileType.ALL_F32,
        "f16": gguf.LlamaFileType.MOSTLY_F16,
        "bf16": gguf.LlamaFileType.MOSTLY_BF16,
    }
    for job in jobs:
        folder = Path(job["folder"])
        values = conversion.ModelBase.load_hparams(folder, False)
        name = conversion.get_model_architecture(values, conversion.ModelType.TEXT)
        # transformers 5 reads config.json before the tokenizer, and fails on an old EXAONE with scaled positions
        plain = transformers.PreTrainedTokenizerFast.from_pretrained
        transformers.AutoTokenizer.from_pretrained = plain if "Exaone" in name else automatic
        conversion.TextModel.get_vocab_base_pre = lambda self, tokenizer, pre=job["pre"]: pre
        with torch.inference_mode():
            conversion.get_model_class(name, mmproj=False)(folder, kinds[job["type"]], Path(job["target"])).write()


if __name__ == "__main__":
    main()
