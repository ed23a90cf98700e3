"""Command line of the trainer: `python -m models.tiny.train FOLDER --minutes 110`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from .checkpoint import FILE_NAME, Checkpoint, load_checkpoint
from .network import NetworkShape
from .optimizer import OptimizerSettings
from .packing import StreamSettings, check_segments, document_random
from .teacher import Teacher
from .tokenizer import CONTROL_TOKENS, THINK_TOKENS, load_tokenizer, save_tokenizer, train_tokenizer
from .trainer import Schedule, Trainer, TrainingSettings, choose_device

TOKENIZER_SAMPLES = 30_000
SMOKE_SHAPE = NetworkShape(vocabulary=512, hidden=128, layers=2, feed_forward=256, heads=4, key_value_heads=2)


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m models.tiny.train", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the tokenizer, the checkpoint and the log go")
    parser.add_argument("--minutes", type=float, help="end after this training time, all runs together")
    parser.add_argument("--tokens", type=int, help="end after this many tokens")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder")
    parser.add_argument(
        "--decay-now", type=float, metavar="MINUTES", help="with --resume: lower the rate to 0 over these minutes, end"
    )
    parser.add_argument("--smoke", action="store_true", help="a very small run on additions, under a minute")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--skills", help="train on these skills only, separated by commas")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    parser.add_argument("--batch-tokens", type=int, help="real tokens a step (default: 6144, on cuda 65536)")
    parser.add_argument("--chunks", type=int, default=4, help="micro-batches a step (default: 4)")
    parser.add_argument("--workers", type=int, help="processes that make documents (default: 1, on cuda 6)")
    parser.add_argument("--threads", type=int, help="threads of the arithmetic (default: all cores)")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, help="torch.compile (default: where g++ is installed)"
    )
    for name in ("hidden", "layers", "feed-forward", "heads", "key-value-heads"):
        default = getattr(NetworkShape, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=int, help=f"size of the network (default: {default})")
    return parser


def prepare_tokenizer(folder: Path, stream: StreamSettings, vocabulary: int, context: int, samples: int) -> Tokenizer:
    """The tokenizer of `folder`; where there is none, one is trained on documents of the teacher and saved."""
    if (folder / "tokenizer.json").is_file():
        return load_tokenizer(folder)
    teacher = Teacher(stream.seed, split=stream.split, skills=stream.skills, refusals=stream.refusals)
    texts: list[str] = []
    for index in range(samples):
        # Numbers of their own, so that the documents of the tokenizer are not the first ones of the run.
        sample = teacher.sample(document_random(-stream.seed - 1, index))
        text = "".join(segment.text for segment in sample.segments)
        for special in (*CONTROL_TOKENS, *THINK_TOKENS):
            text = text.replace(special, "\0")
        texts.extend(part for part in text.split("\0") if part)
    tokenizer = train_tokenizer(texts, vocabulary)
    save_tokenizer(tokenizer, folder, context)
    return tokenizer


def choose_shape(options: argparse.Namespace, resume: Checkpoint | None) -> NetworkShape:
    """The sizes of the checkpoint, of the smoke run, or of the options."""
    if resume is not None:
        return resume.shape
    shape = SMOKE_SHAPE if options.smoke else NetworkShape()
    names = ("hidden", "layers", "feed_forward", "heads", "key_value_heads")
    wished = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return replace(shape, **wished)


def choose_schedule(options: argparse.Namespace, resume: Checkpoint | None) -> Schedule:
    """The schedule that the options ask for; a resumed run keeps its end where they name none."""
    seconds = options.minutes * 60 if options.minutes else None
    tokens = options.tokens
    decay = None
    if options.smoke:
        tokens = tokens or (None if seconds else 330_000)
        return Schedule(seconds, tokens, warmup_steps=20)
    if resume is not None:
        if options.decay_now:
            begin = resume.progress.elapsed_seconds
            decay = (begin, begin + options.decay_now * 60)
        elif seconds is None and tokens is None:
            seconds, tokens = resume.settings.get("seconds"), resume.settings.get("tokens")
            decay = resume.progress.decay
    if seconds is None and tokens is None and decay is None:
        raise ValueError("no end was named: give --minutes or --tokens")
    return Schedule(seconds, tokens, decay)


def run(options: argparse.Namespace) -> int:
    """One run of the command; ValueError and FileNotFoundError say what is wrong with the options."""
    if options.decay_now and not options.resume:
        raise ValueError("--decay-now needs --resume: it lowers the rate of a run that stands")
    resume = load_checkpoint(options.folder) if options.resume else None
    if resume is None and (options.folder / FILE_NAME).exists():
        raise ValueError(f"{options.folder} holds a checkpoint already: add --resume, or name another folder")
    device = choose_device(options.device)
    on_gpu = device.startswith("cuda")
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high" if on_gpu else "highest")
    shape = choose_shape(options, resume)
    seed, refusals = options.seed, not options.smoke
    skills = tuple(options.skills.split(",")) if options.skills else (("add",) if options.smoke else None)
    if resume is not None:
        saved = resume.settings["skills"]
        seed, refusals, skills = resume.settings["seed"], resume.settings["refusals"], tuple(saved) if saved else None
    stream = StreamSettings(seed, "", shape.context, "train", skills, refusals)
    samples = 2_000 if options.smoke else TOKENIZER_SAMPLES
    tokenizer = prepare_tokenizer(options.folder, stream, shape.vocabulary, shape.context, samples)
    check_segments(Teacher(seed, split="train", skills=skills, refusals=refusals), tokenizer, seed)
    batch_tokens = options.batch_tokens or (65_536 if on_gpu else 2_048 if options.smoke else 6_144)
    can_compile = not options.smoke and shutil.which("g++") is not None
    settings = TrainingSettings(
        folder=options.folder,
        shape=shape,
        stream=replace(stream, tokenizer=tokenizer.to_str()),
        schedule=choose_schedule(options, resume),
        device=device,
        batch_tokens=batch_tokens,
        chunks=2 if options.smoke else options.chunks,
        workers=options.workers or (6 if on_gpu else 1),
        compile=can_compile if options.compile is None else options.compile,
        evaluate_steps=50 if options.smoke else 500,
        optimizer=OptimizerSettings(),
    )
    trainer = Trainer(settings, tokenizer, resume)
    print(f"{trainer.network.parameter_count():,} weights on {device}, {batch_tokens:,} tokens a step", flush=True)
    trainer.run()
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 2 with one sentence where the options do not fit."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        return run(build_parser().parse_args(arguments))
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
