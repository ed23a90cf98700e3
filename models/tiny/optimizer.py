"""Muon on the matrices, AdamW on the rest.

Sources: Muon, K. Jordan et al. 2024 (orthogonalized momentum by Newton-Schulz iteration); AdamW, arXiv:1711.05101.
Matrices of one shape are stacked, so that one batched product serves them all; q, k, v and gate, up stay apart, because
each is one linear map and has one spectrum.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


@dataclass(frozen=True)
class OptimizerSettings:
    """Rates at full height of the schedule."""

    matrix_rate: float = 0.02
    other_rate: float = 3e-3
    momentum: float = 0.95
    newton_schulz_steps: int = 4
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = 1e-8


def orthogonalize(stack: Tensor, steps: int) -> Tensor:
    """The nearest (semi-)orthogonal matrices, roughly, to a stack (count, rows, columns) with rows <= columns."""
    first, second, third = NEWTON_SCHULZ
    values = stack / stack.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for _ in range(steps):
        gram = torch.bmm(values, values.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=second, alpha=third)
        values = torch.baddbmm(values, polynomial, values, beta=first, alpha=1.0)
    return values


class MatrixGroup:
    """Matrices that share min and max of their sides, stacked with the short side first."""

    def __init__(self, names: list[str], weights: list[nn.Parameter], settings: OptimizerSettings) -> None:
        self.names, self.weights, self.settings = names, weights, settings
        self.flipped = [weight.shape[0] > weight.shape[1] for weight in weights]
        self.rates = [
            settings.matrix_rate * math.sqrt(max(1.0, weight.shape[0] / weight.shape[1])) for weight in weights
        ]
        sides = min(weights[0].shape), max(weights[0].shape)
        self.momentum = torch.zeros((len(weights), *sides), device=weights[0].device)

    def step(self, scale: float) -> None:
        """One update with all rates multiplied by `scale`."""
        gradients = torch.stack(
            [
                (weight.grad.mT if flip else weight.grad) if weight.grad is not None else torch.zeros_like(momentum)
                for weight, flip, momentum in zip(self.weights, self.flipped, self.momentum, strict=True)
            ]
        ).to(self.momentum.dtype)
        self.momentum.lerp_(gradients, 1.0 - self.settings.momentum)
        direction = gradients.lerp_(self.momentum, self.settings.momentum)
        update = orthogonalize(direction, self.settings.newton_schulz_steps)
        for index, weight in enumerate(self.weights):
            rate = self.rates[index] * scale
            weight.data.mul_(1.0 - rate * self.settings.weight_decay)
            weight.data.add_(update[index].mT if self.flipped[index] else update[index], alpha=-rate)


class MuonAdamW:
    """Both optimizers behind one `step`; the state is plain tensors for a checkpoint."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], settings: OptimizerSettings) -> None:
        self.settings = settings
        matrices: dict[tuple[int, int], list[tuple[str, nn.Parameter]]] = {}
        others: list[nn.Parameter] = []
        for name, weight in named:
            if weight.ndim == 2 and "embed" not in name:
                matrices.setdefault((min(weight.shape), max(weight.shape)), []).append((name, weight))
            else:
                others.append(weight)
        self.groups = [
            MatrixGroup([name for name, _ in members], [weight for _, weight in members], settings)
            for _, members in sorted(matrices.items(), key=lambda item: item[0])
        ]
        self.adam = torch.optim.AdamW(
            others, lr=settings.other_rate, betas=settings.betas, eps=settings.epsilon, weight_decay=0.0, foreach=True
        )

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One update with every rate multiplied by `scale` (0 to 1, from the schedule)."""
        for group in self.groups:
            group.step(scale)
        for parameters in self.adam.param_groups:
            parameters["lr"] = self.settings.other_rate * scale
        self.adam.step()

    def state_dict(self) -> dict[str, object]:
        """Momenta of both parts."""
        return {
            "matrices": [{"names": group.names, "momentum": group.momentum} for group in self.groups],
            "others": self.adam.state_dict(),
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Takes a state of `state_dict`; ValueError where it belongs to another network."""
        matrices = state["matrices"]
        others = state["others"]
        if not isinstance(matrices, list) or not isinstance(others, dict) or len(matrices) != len(self.groups):
            raise ValueError("the optimizer state does not belong to this network")
        for group, saved in zip(self.groups, matrices, strict=True):
            if saved["names"] != group.names or saved["momentum"].shape != group.momentum.shape:
                raise ValueError("the optimizer state does not belong to this network")
            group.momentum.copy_(saved["momentum"])
        self.adam.load_state_dict(others)
