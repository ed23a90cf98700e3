"""Ctrl-C while the C library loads is neither lost nor a traceback."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from runtime.backends.held_interrupt import HeldInterrupt
from runtime.backends.llama import open_llama
from runtime.backends.llama_library import llama_library
from runtime.bench.random_model import make_random_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


def test_it_is_raised_at_the_end_and_a_second_one_at_once() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), HeldInterrupt() as held:
        os.kill(os.getpid(), signal.SIGINT)
        done.append(held.told)
        os.kill(os.getpid(), signal.SIGINT)
        done.append(False)
    assert done == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_it_takes_the_place_of_the_error_that_it_caused() -> None:
    with pytest.raises(KeyboardInterrupt), HeldInterrupt():
        os.kill(os.getpid(), signal.SIGINT)
        raise ValueError("the load was broken off")


def test_an_ignored_signal_stays_ignored() -> None:
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with HeldInterrupt():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, old)


def test_ctrl_c_ends_a_load(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told: list[float] = []

    def interrupt(fraction: float) -> None:
        told.append(fraction)
        os.kill(os.getpid(), signal.SIGINT)  # as if pressed inside the library's call back into Python

    with pytest.raises(KeyboardInterrupt):
        open_llama(model, context=256, sequences=1, on_progress=interrupt)
    assert len(told) == 1  # the load was broken off
    assert "Traceback" not in capfd.readouterr().err


def test_progress_ends_with_the_whole(model: Path) -> None:
    told: list[float] = []
    open_llama(model, context=256, sequences=1, on_progress=told.append).close()
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_the_dots_of_a_loading_are_no_words() -> None:
    library = llama_library()
    library.forget_words()
    for level, text in ((2, b"loading"), (5, b"..."), (4, b"it failed:"), (5, b" no memory\n")):
        library._log(level, text, None)
    assert library.last_words() == "it failed: no memory"
