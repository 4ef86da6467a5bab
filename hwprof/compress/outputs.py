"""The outputs of a changed network against those of the float network, over samples: what stands for a task's metric
where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from hwprof import plugins
from hwprof.errors import InputError
from hwprof.interfaces import higher_is_better
from hwprof.onnx_io.proto import value_info
from hwprof.variants.samples import Samples
from hwprof.variants.spec import Weighted
from hwprof.variants.weights import model_with

Outputs: TypeAlias = Mapping[str, np.ndarray]  # by output, [n_samples, *shape]
# Of the outputs of the changed and of the float network; larger is better, unless its attribute `higher_is_better` is
# False.
Metric: TypeAlias = Callable[[Outputs, Outputs], float]


class Judge:
    """Says how far networks are from the float one. Raises InputError for samples on which that one fails.

    metric: the user's; None for the relative error of the outputs.
    """

    def __init__(self, network: Weighted, samples: Samples, metric: Metric | None = None) -> None:
        self._samples, self._metric = samples, metric
        self.higher_is_better = higher_is_better(metric)
        self._exact = outputs(network, samples)
        for name, values in self._exact.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise InputError(f"output {name!r} of {network.graph.name!r} is not finite on the samples")
        self.best = 0.0 if metric is None else self._measured(self._exact)

    def score(self, network: Weighted) -> float:
        """The metric of the network; without one, minus its relative error."""
        found = outputs(network, self._samples)
        return -relative_error(found, self._exact) if self._metric is None else self._measured(found)

    def harm(self, network: Weighted) -> float:
        """How much worse than the float network it is, at least 0, in a measure that adds up over independent changes:
        the square of the relative error, or the loss of the metric."""
        lost = self.best - self.score(network)
        loss = max(lost if self.higher_is_better else -lost, 0.0)
        return loss**2 if self._metric is None else loss

    def _measured(self, found: Outputs) -> float:
        assert self._metric is not None
        try:
            value = float(self._metric(found, self._exact))
        except Exception as error:  # noqa: BLE001 -- whatever the user's function raises
            raise InputError(f"the metric failed: {type(error).__name__}: {error}") from None
        if not math.isfinite(value):
            raise InputError(f"the metric is {value}; it must be a finite number")
        return value


def outputs(network: Weighted, samples: Samples) -> dict[str, np.ndarray]:
    """samples: [n, *shape] for each input. Returns [n, *shape] for each output. Raises as `values`."""
    rows = list(values(network, samples, network.graph.outputs))
    return {name: np.stack([row[name] for row in rows]) for name in network.graph.outputs}


def values(network: Weighted, samples: Samples, names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    """For each sample the tensors with these names, each of its shape, as ONNX Runtime computes them on one thread.

    samples: [n, *shape] for each input. Raises InputError where it cannot run the network.
    """
    with plugins.optional_library("running a network on samples"):
        from hwprof.onnx_io.runtime import onnxruntime, plain_errors
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors alone
    graph = network.graph
    model = model_with(graph, network.weights)
    model.graph.output.extend(value_info(graph.type_of(name)) for name in names if name not in graph.outputs)
    with plain_errors(graph):
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for sample in zip(*samples.values(), strict=True):
            given = {name: np.asarray(array) for name, array in zip(samples, sample, strict=True)}
            yield dict(zip(names, session.run(list(names), given), strict=True))


def relative_error(found: Outputs, exact: Outputs) -> float:
    """The root mean square, over the outputs, of each one's relative error: the norm of the difference against the norm
    of the exact values, for integers the share that differs. found, exact: [n_samples, *shape] for each output."""
    squares = [_relative_square(found[name], exact[name]) for name in exact]
    return math.sqrt(math.fsum(squares) / len(squares)) if all(map(math.isfinite, squares)) else math.inf


def _relative_square(found: np.ndarray, exact: np.ndarray) -> float:
    if exact.dtype.kind != "f":
        return float(np.mean(found != exact) ** 2) if exact.size else 0.0
    difference = float(np.square(found.astype(np.float64) - exact).sum())
    energy = float(np.square(exact.astype(np.float64)).sum())
    if not math.isfinite(difference):
        return math.inf
    return difference / energy if energy else float(difference > 0)
