import json

import pytest

from hwprof.data.store import Store
from hwprof.errors import InputError
from hwprof.jobs.reporting import report
from tests.results import compared, make_result


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "s.db"
    with Store(path) as opened:
        opened.add_result(make_result(measured={"d": compared(5.0), "phone": compared(8.0)}))
    return path


def test_results_of_one_device_are_written(store, tmp_path):
    (path,) = report(out=tmp_path / "r.json", store=store, device="phone", results=True)
    assert [r["device"] for r in json.loads(path.read_text())] == ["phone"]


def test_the_page_says_what_made_it(store, tmp_path):
    report(out=tmp_path / "r.html", store=store, results=True, command="my script")
    assert "<code>my script</code>" in (tmp_path / "r.html").read_text()


def test_a_store_without_profiles_has_no_report_of_them(store, tmp_path):
    with pytest.raises(InputError, match="holds no matching measurement"):
        report(out=tmp_path / "r.html", store=store)
