from pathlib import Path

import pytest

from hwprof.data.store import Store
from hwprof.device import Device
from hwprof.errors import InputError
from hwprof.graph import Graph
from hwprof.jobs import Options
from hwprof.jobs.inputs import Wanted, device_of, opened
from hwprof.measure.transport import MockTransport


def test_data_to_calibrate_need_a_variant():
    with pytest.raises(InputError, match="--calibration needs a quantized variant; also give --variant int8"):
        Wanted(calibration=Path("data.npz"))


def test_without_a_variant_a_network_is_itself(tiny_graph: Graph, tmp_path: Path):
    assert Wanted().open(tiny_graph, tmp_path, pytest.fail) is tiny_graph


def test_a_variant_is_made_in_the_folder_and_its_warnings_name_it(tiny_graph: Graph, tmp_path: Path):
    told: list[str] = []
    changed = Wanted(variant="prune:0.5").open(tiny_graph, tmp_path, told.append)
    assert changed.name == "tiny-prune0.5"
    assert changed.source is not None
    assert Path(changed.source).parent == tmp_path
    assert [text.partition(":")[0] for text in told] == ["tiny-prune0.5"]


def test_a_device_is_given_by_its_name_or_as_it_is():
    assert device_of("cpu-1t").name == "cpu-1t"
    assert device_of(Device("x", "roofline")) == Device("x", "roofline")


def test_a_store_is_given_open_by_its_file_or_not_at_all(tmp_path: Path):
    with Store() as mine, opened(mine, None) as (folder, kept, options):
        assert kept is mine
        assert folder.is_dir()
        assert options == Options()
    for store in (tmp_path / "s.db", str(tmp_path / "s.db")):
        with opened(store, None) as (_, kept, _):
            assert Path(kept.path) == tmp_path / "s.db"
    with opened(None, None) as (folder, kept, _):
        assert kept.path == ":memory:"
    assert not folder.exists()


@pytest.mark.parametrize("variant", ["int8", "integer"])
@pytest.mark.parametrize(("features", "ending"), [(["avx2"], "reduced"), (["avx2", "avx_vnni"], "")])
def test_weights_are_reduced_where_two_products_are_summed_in_16_bits_and_the_user_is_told(
    variant: str, features: list[str], ending: str, tiny_graph: Graph, tmp_path: Path
):
    told: list[str] = []
    machine = MockTransport(lambda _request: [{"hardware": {"features": features}}])
    options = Options(transport=machine, on_warning=told.append)
    wanted = Wanted(variant=variant).on(Device("cpu", "onnxruntime"), options)
    assert wanted.open(tiny_graph, tmp_path, lambda _text: None).name == f"tiny-{variant}{ending}"
    assert [text.partition(":")[0] for text in told] == ([variant] if ending else [])
