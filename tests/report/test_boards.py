from hwprof.report import boards
from hwprof.report.boards import BoardState, FleetState, Trouble
from hwprof.report.page import render_fleet
from hwprof.report.verdict import Tone
from tests.report.test_page import Balance

NOW = 1_800_000_000.0
MEASURING = BoardState(
    "pi-1", ("pi-4",), "measuring", "dense", 0.42, NOW - 200, answered=7, delivered=6, waiting=1,
    hardware={"pi-4": "Cortex-A72, 4 cores"},
)  # fmt: skip
FREE = BoardState("pi-2", ("pi-4",), "idle", since=NOW - 5)
ABSENT = BoardState("pi-3", ("pi-4",))
ASIDE = BoardState("pi-4", ("pi-4",), "idle", since=NOW, notes=("is set aside after 3 failures: x",), is_aside=True)


def state(*found: BoardState, **more: object) -> FleetState:
    return FleetState("10.0.0.1:8786", NOW, found, **more)


def test_the_headline_counts_what_the_boards_do():
    answer = boards.verdict(state(MEASURING, FREE, ABSENT, ASIDE))
    assert answer.headline == "4 boards: 1 measuring, 2 idle, 1 without an agent, 1 set aside"
    assert answer.tone is Tone.CAUTION
    assert answer.doubts == (
        "pi-4 is set aside after 3 failures: x.", "Without an agent: pi-3; start each with hwprof fleet agent.",
    )  # fmt: skip


def test_a_fleet_whose_boards_all_work_is_good_and_one_without_agents_is_bad():
    assert boards.verdict(state(MEASURING, FREE)).tone is Tone.GOOD
    assert boards.verdict(state(ABSENT)).tone is Tone.BAD


def test_a_row_says_how_far_a_board_is_and_since_when():
    measuring, absent = boards.rows(state(MEASURING, ABSENT))
    assert (measuring["state"], measuring["progress"], measuring["for s"]) == ("measuring", "42%", 200)
    assert (absent["state"], absent["for s"], absent["to deliver"]) == ("no agent", "", "")
    assert measuring.keys() == absent.keys()


def test_the_table_has_the_stores_figures_only_where_a_store_was_looked_at():
    assert "in the store" not in boards.table(state(MEASURING)).columns
    table = boards.table(state(MEASURING, unfinished=3))
    assert "in the store" in table.columns
    assert {len(row) for row in table.rows} == {len(table.columns)}


def test_hardware_that_nobody_asked_for_is_unknown():
    cells = boards.table(state(MEASURING, FREE)).rows
    assert [row[2].words for row in cells] == ["Cortex-A72, 4 cores", "unknown"]


def test_the_last_errors_are_listed_newest_first():
    listed = boards.troubles(state(MEASURING, troubles=(Trouble(NOW, "a", "old"), Trouble(NOW + 1, "b", "new"))))
    assert [row[2].words for row in listed.rows] == ["new", "old"]
    assert boards.troubles(state(MEASURING)) is None


def test_a_drawn_board_says_in_words_what_it_does():
    drawn = boards.draw(state(MEASURING, ABSENT), 1000)
    assert "pi-1: measuring, 42 %, for 3 min, dense; pi-3: no agent" in drawn


def test_the_page_is_well_formed_and_escapes_what_boards_say():
    trouble = Trouble(NOW, "pi-1", "<script>alert(1)</script>")
    page = render_fleet(state(MEASURING, FREE, ABSENT, ASIDE, troubles=(trouble,)), "hwprof fleet status")
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert "<script>alert" not in page


WAITING = BoardState("pi-5", ("pi-4",), "waiting", "dense", since=NOW - 5)


def test_the_table_and_the_page_have_one_word_for_a_board_without_work():
    (row,) = boards.rows(state(FREE))
    assert row["state"] == boards.table(state(FREE)).rows[0][3].words == "idle"


def test_a_board_that_waits_says_for_what_and_has_no_bar():
    (row,) = boards.rows(state(WAITING))
    assert (row["state"], row["notes"]) == ("waiting", "waiting for another hwprof on its machine")
    drawn = boards.draw(state(WAITING), 1000)
    assert "pi-5: waiting for another hwprof on its machine, for 5 s, dense" in drawn
    assert "soft" not in drawn


def test_only_a_page_with_a_store_says_that_the_samples_are_in_it():
    assert "The raw samples are in the store." not in render_fleet(state(FREE), "hwprof fleet status")
    assert "The raw samples are in the store." in render_fleet(state(FREE, unfinished=0), "hwprof fleet status")
