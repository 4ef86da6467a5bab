"""Which device runs a network faster: predicted from data sets of two devices, or measured on those of a fleet."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwprof.data.dataset import Dataset, Entry
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.interfaces import Arch
from hwprof.jobs.inputs import networks as opened_networks
from hwprof.jobs.sweeping import sweep
from hwprof.measure.recording import Options
from hwprof.predictors import learning
from hwprof.predictors.device_choice import DeviceChoice, Pick
from hwprof.workloads.loading import Shapes

if TYPE_CHECKING:  # needs the library of hwprof[fleet]
    from hwprof.fleet.measuring import OpenFleet

_FEWEST = 20


def pick_device(
    model: Graph | Arch | str | Path,
    first: Dataset | str | Path | None = None,
    second: Dataset | str | Path | None = None,
    *,
    shapes: Shapes | None = None,
    fleet: OpenFleet | None = None,
    options: Options | None = None,
) -> str | None:
    """The name of the device that runs the model faster; None where it cannot be told.

    With `fleet`, in place of data sets: of all its devices the one that is measured to be the fastest; its `tell` takes
    the figures. options: how it is measured there.

    model: a graph, an .onnx file, a workload, or an architecture of the space of the data sets. first, second: data
    sets of two devices; the networks that they have in common are learned from. Where it decides, at least 95 % of
    the answers are right for networks like those of the data sets.

    Raises InputError for data sets of the same device, of two spaces, or with fewer than 20 networks in common.
    """
    if fleet is not None:
        return _measured(model, fleet, shapes, options)
    if first is None or second is None:
        raise InputError("a choice needs data sets of two devices, or a fleet")
    a, b = learning.opened(first), learning.opened(second)
    names = (a.card.device_name, b.card.device_name)
    if names[0] == names[1] or a.card.space != b.card.space:
        raise InputError(f"a choice needs data sets of one space on two devices, not {_name(a)} and {_name(b)}")
    second_ms = {_identity(entry): ms for entry, ms in zip(b.entries, b.normalized_ms.tolist(), strict=True)}
    common = replace(a, entries=tuple(entry for entry in a.entries if _identity(entry) in second_ms))
    if len(common.entries) < _FEWEST:
        raise InputError(
            f"{_name(a)} and {_name(b)} have {len(common.entries)} networks in common; {_FEWEST} are needed"
        )
    space = learning.space_of(a.card)
    is_arch = isinstance(model, tuple)
    networks = common.archs if is_arch else common.graphs(space)
    choice = DeviceChoice(space if is_arch else None).fit(
        networks, common.normalized_ms, np.array([second_ms[_identity(entry)] for entry in common.entries])
    )
    silent = Options(on_warning=lambda _text: None)  # a choice does not depend on weights
    with opened_networks([] if is_arch else [model], silent, shapes=shapes) as graphs:
        (picked,) = choice.pick([model] if is_arch else graphs)
    return {Pick.FIRST: names[0], Pick.SECOND: names[1], Pick.CANNOT_TELL: None}[picked]


def _measured(
    model: Graph | Arch | str | Path, fleet: OpenFleet, shapes: Shapes | None, options: Options | None
) -> str | None:
    if isinstance(model, tuple):
        raise InputError("a fleet measures graphs; give the graph of the architecture: space.graph(arch)")
    found = sweep([model], fleet.devices, shapes=shapes, options=fleet.options(options))
    if len(found.refused) == len(found.rows):
        raise InputError(f"no device of the fleet runs {found.rows[0].model}: {found.rows[0].reason}")
    for answer in found.fastest:
        fleet.fleet.tell(answer.sentence)
    return next((one.row.device for one in found.fastest if one.is_certain), None)


def _name(data: Dataset) -> str:
    return f"{data.folder.name} ({data.card.space or 'no space'} on {data.card.device_name})"


def _identity(entry: Entry) -> Hashable:
    return entry.arch if entry.arch is not None else entry.digest
