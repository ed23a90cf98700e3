"""Samplers of the C library: a chain top-k, top-p, min-p, temperature, draw; or the largest logit alone."""

from __future__ import annotations

from typing import Any

from models.errors import InternalError
from runtime.backends.llama_library import LlamaLibrary
from runtime.request import Sampling


class LlamaSampler:
    """A chain in C with a random state of its own. `handle` None: greedy, which needs none. Freed by its backend."""

    def __init__(self, library: LlamaLibrary, sampling: Sampling) -> None:
        self._c = library.c
        self.handle: Any = None
        if sampling.temperature > 0.0:
            self.handle = self._chain(sampling)

    def _chain(self, sampling: Sampling) -> Any:
        c = self._c
        chain = c.llama_sampler_chain_init(c.llama_sampler_chain_default_params())
        if not chain:
            raise InternalError("The C library gave no sampler.")
        links = []
        if sampling.top_k:
            links.append(c.llama_sampler_init_top_k(sampling.top_k))
        if sampling.top_p is not None and sampling.top_p < 1.0:
            links.append(c.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p:
            links.append(c.llama_sampler_init_min_p(sampling.min_p, 1))
        links.append(c.llama_sampler_init_temp(sampling.temperature))
        links.append(c.llama_sampler_init_dist(sampling.seed & 0xFFFFFFFF))
        for link in links:
            c.llama_sampler_chain_add(chain, link)
        return chain

    def accept(self, token: int) -> None:
        """Tell the chain of a token that it did not draw."""
        if self.handle is not None:
            self._c.llama_sampler_accept(self.handle, token)

    def free(self) -> None:
        """Free the chain and its links. Safe to call twice."""
        if self.handle is not None:
            self._c.llama_sampler_free(self.handle)
            self.handle = None
