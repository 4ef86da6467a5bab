"""The choices that a method makes, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Choice:
    """The changes of one layer; None leaves it as before.

    kept: how many channels stay, of a group of `hwprof.variants.prune.prunable_groups`; 0 for the branch of a residual
    block of `hwprof.variants.blocks`. rank: of the two operators that replace one (`hwprof.variants.factorize`).
    spatial_rank: the same by its spatial scheme. bits: 8 of weights and activations, fewer of weights alone. levels:
    how many values a dictionary or an epitome of weights has. groups: of a convolution (`hwprof.variants.group`).
    sparsity: the share of weights that are zero.
    """

    kept: int | None = None
    rank: int | None = None
    bits: int | None = None
    levels: int | None = None
    groups: int | None = None
    sparsity: float | None = None
    spatial_rank: int | None = None


AS_BEFORE = Choice()
Choices: TypeAlias = Mapping[str, Choice]  # by layer; one that is missing is as before
Options: TypeAlias = Mapping[str, tuple[Choice, ...]]  # by layer, from as before to the smallest
