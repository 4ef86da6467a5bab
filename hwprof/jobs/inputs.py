"""Opens the inputs of a job: networks in the wanted variant, the device, the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, TypedDict, Unpack

from hwprof import plugins
from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.files import temporary_folder
from hwprof.graph import Graph
from hwprof.interfaces import ProgramBackend
from hwprof.measure.machine import saturates
from hwprof.measure.recording import Options
from hwprof.onnx_io import GivenInputs
from hwprof.variants.apply import apply_variant
from hwprof.variants.spec import Variant, parse, unsaturated
from hwprof.workloads.loading import Shapes, load_network

_SATURATES = (
    "{variant}: this processor has no VNNI instructions, so that sums of uint8 by int8 products saturate or are slow; "
    "the weights take the reduced range from -64 to 64 ({full} takes the whole range; hwprof compare shows the error)"
)
StoreLike: TypeAlias = Store | Path | str | None  # open, by the path of its file, or none: then nothing is kept


class Change(TypedDict, total=False):
    """Arguments of a job that has shapes of its own: the other fields of `Wanted`."""

    variant: str | None
    calibration: Path | None
    example_inputs: object
    inputs: GivenInputs | None
    as_onnx: bool


class Opening(Change, total=False):
    """Arguments by which a job opens its models: the fields of `Wanted`."""

    shapes: Shapes | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a job opens its models.

    shapes: of dynamic inputs, by name. inputs: values of inputs by name: an array, a .npy file, a number, or
    "randint:0:30000"; others are drawn. variant: measured instead of each model (int8, prune:0.5, ...), quantized with
    the data of `calibration`. example_inputs: of a torch.nn.Module, a tensor, a sequence of arguments, or a mapping of
    keyword arguments. as_onnx: a module is exported to ONNX, as it is for every device whose runtime runs nothing else,
    and not traced. Raises InputError for a text that names no variant, and for calibration data that the variant does
    not use."""

    shapes: Shapes | None = None
    variant: str | None = None
    calibration: Path | None = None
    example_inputs: object = None
    inputs: GivenInputs | None = None
    as_onnx: bool = False

    def __post_init__(self) -> None:
        wanted = parse(self.variant) if self.variant else None
        if self.calibration is not None and not (wanted and wanted.is_calibrated):
            raise InputError("--calibration needs a quantized variant; also give --variant int8")

    def on(self, device: Device, options: Options) -> Wanted:
        """With the file of a PyTorch module that the device's runtime runs, and with the variant that it computes right
        and fast: where two products are summed in 16 bits, the one with reduced weights, which is said. Raises as
        `machine.saturates` and `plugins.load`."""
        runs_programs = isinstance(plugins.load("backend", device.backend), ProgramBackend)
        return replace(self, as_onnx=self.as_onnx or not runs_programs)._unsaturated(device, options)

    def _unsaturated(self, device: Device, options: Options) -> Wanted:
        if not self.variant or unsaturated(self.variant) == self.variant:
            return self
        if not saturates(options.limited_transport, device):
            return self
        full = "integer:full" if "integer" in self.variant.split("+") else "int8:u8s8"
        options.on_warning(_SATURATES.format(variant=self.variant, full=full))
        return replace(self, variant=unsaturated(self.variant))

    def load(self, model: object, folder: Path) -> Graph:
        """The model itself, as `load_network` finds it. A PyTorch module is traced or exported into `folder`."""
        return load_network(model, self.shapes, folder, self.example_inputs, self.inputs, as_onnx=self.as_onnx)

    def open(self, model: object, folder: Path, on_warning: Callable[[str], None]) -> Graph:
        """The model's graph in the variant, whose file is written to `folder` and whose warnings go to `on_warning`."""
        return self.varied(self.load(model, folder), folder, on_warning)

    def varied(self, graph: Graph, folder: Path, on_warning: Callable[[str], None]) -> Graph:
        """The graph in the variant; the graph itself where none is wanted."""
        if not self.variant:
            return graph
        changed, warnings = variant(graph, self.variant, folder, self.calibration)
        for warning in warnings:
            on_warning(f"{changed.name}: {warning}")
        return replace(changed, given=graph.given)


@contextmanager
def networks(models: Sequence[object], options: Options, **opening: Unpack[Opening]) -> Iterator[list[Graph]]:
    """The networks as ONNX, for a job whose results do not hold their warnings, which are told here. Their files exist
    until the context ends."""
    wanted = replace(Wanted(**opening), as_onnx=True)
    with temporary_folder() as folder:
        graphs = [wanted.open(model, folder, options.on_warning) for model in models]
        options.warn_of(graphs)
        yield graphs


def variant(
    graph: Graph, spec: str | Variant, folder: Path, calibration: Path | None = None
) -> tuple[Graph, list[str]]:  # fmt: skip
    """The graph of a quantized, pruned, ... variant written to `folder`, and warnings for its user."""
    return apply_variant(graph, spec, folder, calibration)


@contextmanager
def opened(store: StoreLike, options: Options | None) -> Iterator[tuple[Path, Store, Options]]:
    """A folder for files that nobody asked to keep, the store, and default options where none were given."""
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        kept = store if isinstance(store, Store) else stack.enter_context(Store(store or ":memory:"))
        yield folder, kept, options or Options()


def device_of(device: Device | str) -> Device:
    """The device, which may be given by its name or .toml file. Raises InputError for an unknown one."""
    return device if isinstance(device, Device) else Device.load(device)
