import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hwprof.errors import InputError
from hwprof.search.table_score import TableScore
from hwprof.spaces.varied import VariedSpace

pytestmark = pytest.mark.usefixtures("tiny_spaces")


@pytest.fixture
def space():
    return VariedSpace("space")


def written(tmp_path, text: str):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    return path


def test_a_csv_file_with_one_other_column_needs_no_name(tmp_path, space):
    table = TableScore.load(written(tmp_path, 'arch,accuracy\n"3,0,1,0",92.5\n0-0-0-0,71\n'), space)
    assert table((3, 0, 1, 0)) == 92.5
    assert table((0, 0, 0, 0)) == 71


def test_a_parquet_file_is_read_by_the_name_of_the_column(tmp_path, space):
    pq.write_table(pa.table({"arch": ["3-0-1-0"], "a": [1.0], "b": [2.0]}), tmp_path / "s.parquet")
    assert TableScore.load(tmp_path / "s.parquet", space, "b")((3, 0, 1, 0)) == 2.0


def test_an_architecture_that_is_not_in_the_table_is_an_error_and_not_zero(tmp_path, space):
    table = TableScore.load(written(tmp_path, "arch,accuracy\n0-0-0-0,71\n"), space)
    with pytest.raises(InputError, match=r"scores.csv has no score of architecture 3-0-1-0"):
        table((3, 0, 1, 0))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("net,accuracy\n0-0-0-0,71\n", "has a column 'arch'"),
        ("arch,accuracy\n", "at least one row"),
        ("arch,a,b\n0-0-0-0,1,2\n", "several columns of scores; name one of: a, b"),
        ("arch,accuracy\n0-0-0-0,good\n", "row 1: 'good' is not a score"),
        ("arch,accuracy\n0-9-0-0,1\n", "position 1 is 9"),
        ("arch,a,b\n0-0-0-0,1,2,3\n", "several columns of scores; name one of: a, b"),
        (f"arch,accuracy\n{'0' * 200_000},1\n", "table of scores .*field larger than field limit"),
    ],
)
def test_a_bad_table_is_told_in_one_line(tmp_path, space, text, reason):
    with pytest.raises(InputError, match=reason):
        TableScore.load(written(tmp_path, text), space)


def test_a_table_in_another_encoding_is_told_in_one_line(tmp_path, space):
    (tmp_path / "scores.csv").write_bytes("arch,größe\n0-0-0-0,1\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"table of scores .*: it is damaged"):
        TableScore.load(tmp_path / "scores.csv", space)


def test_a_missing_table_or_column_is_told(tmp_path, space):
    with pytest.raises(InputError, match="there is no table of scores"):
        TableScore.load(tmp_path / "none.csv", space)
    with pytest.raises(InputError, match="has no column 'top5'; name one of: accuracy"):
        TableScore.load(written(tmp_path, "arch,accuracy\n0-0-0-0,71\n"), space, "top5")
    (tmp_path / "s.parquet").write_text("no parquet")
    with pytest.raises(InputError, match=r"s.parquet is not a .parquet file"):
        TableScore.load(tmp_path / "s.parquet", space)
