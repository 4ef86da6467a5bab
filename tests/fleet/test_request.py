import json

import pytest

from hwprof import __version__
from hwprof.device import Device
from hwprof.errors import DeviceLostError, HwprofError, InputError
from hwprof.fleet import request as requests
from hwprof.fleet.parcel import Parcel
from hwprof.graph import Graph
from hwprof.measure.rounds import Cohort
from hwprof.measurement import FAST, ProtocolSettings
from tests.samples import make_process

ANY = Device("any", "roofline")


def test_a_request_is_read_as_it_was_written():
    assert requests.read_request(requests.request_text("greet", x=1)) == {"do": "greet", "hwprof": __version__, "x": 1}


@pytest.mark.parametrize("text", ["", "5", "[]", "{}", '{"do": 5}', "[" * 100_000])
def test_another_text_is_refused(text: str):
    with pytest.raises(InputError, match="the request is not hwprof's"):
        requests.read_request(text)


def test_another_version_of_hwprof_is_refused_in_one_line():
    text = json.dumps({"do": "greet", "hwprof": "9.9.9"})
    with pytest.raises(InputError, match=rf"^the driver has hwprof 9\.9\.9, this machine {__version__}; install one"):
        requests.read_request(text)


def test_a_name_stays_the_same_for_the_same_and_differs_for_all_else(tiny_graph: Graph):
    def name(graph=tiny_graph, device=ANY, settings=FAST, attempt=0, cohort="first"):
        return requests.name_of(Cohort((graph,), name=cohort), device, settings, attempt)

    others = {
        name(device=Device("any", "roofline", threads=2)), name(settings=ProtocolSettings()), name(attempt=1),
        name(cohort="second"),
    }  # fmt: skip
    assert name() == name()
    assert name().isalnum()
    assert len({name(), *others}) == 5


def test_a_cohort_comes_back_with_its_processes_and_error(tiny_graph: Graph):
    cohort = Cohort((tiny_graph,), [[make_process(0, [1e6])]], error=DeviceLostError("gone"))
    record = json.loads(json.dumps(requests.cohort_answer(cohort)))
    assert requests.processes(record["processes"]) == cohort.processes
    assert isinstance(requests.error_of(record), DeviceLostError)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("InputError", InputError), ("DrainingError", requests.DrainingError), ("Newer", HwprofError), (5, HwprofError)],
)
def test_an_error_keeps_its_class_where_it_is_known(name: object, kind: type):
    assert type(requests.error_of({"error": name, "text": "x"})) is kind


def test_a_board_is_asked_the_question_of_the_cohort(tiny_graph: Graph):
    record = requests.cohort_record("ab12", Cohort((tiny_graph, tiny_graph), margin=0.02, limit=0.1), Parcel())
    assert (record["margin"], record["limit"]) == (0.02, 0.1)
