"""Text is escaped unless it is markup."""

from hwprof.report.markup import Markup, comment, element, join


def test_text_and_attributes_are_escaped():
    made = element("p", "<script>", title='"><b>')
    assert made == '<p title="&quot;&gt;&lt;b&gt;">&lt;script&gt;</p>'


def test_markup_is_taken_as_it_is():
    assert element("p", element("b", "x")) == "<p><b>x</b></p>"


def test_markup_that_went_through_a_format_string_is_text_again():
    assert element("p", f"{Markup('<b>')}") == "<p>&lt;b&gt;</p>"


def test_none_is_left_out_and_underscores_become_hyphens():
    assert element("rect", None, x=1.0, y=2.345, class_="a", fill=None, aria_label="b") == (
        '<rect x="1" y="2.35" class="a" aria-label="b"/>'
    )


def test_a_comment_cannot_be_ended_from_inside():
    assert comment("a --> <b>") == "<!-- a - -&gt; &lt;b&gt; -->"


def test_joining_nothing_gives_nothing():
    assert join([None, ""]) == ""
