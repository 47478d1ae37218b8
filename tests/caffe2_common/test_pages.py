"""Pages: what is untrusted stays text, data stays data, tables tell their numbers."""

import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe2_common.pages import Bar, Cell, Column, Line, Markup, Point, Section, Track, bars, element, render, scatter
from caffe2_common.pages import table as make_table
from caffe2_common.pages.page import to_script

EVIL = "</script><script>alert(1)</script><!--<img src=x onerror='alert(2)'>&\"\ud800"


class Parsed(HTMLParser):
    """Elements, attributes and texts as a browser would find them."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.texts.append(data)


@settings(max_examples=50)
@given(st.text())
def test_text_and_attributes_come_back_as_they_were(text):
    parsed = Parsed(element("p", text, title=text))
    assert parsed.tags == ["p"]
    assert parsed.attributes == [("title", text)]
    assert "".join(parsed.texts) == text


@settings(max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_data_comes_back_and_never_ends_the_script(data):
    text = to_script(data)
    assert not set("<>&") & set(text)
    assert json.loads(text) == data


def test_elements():
    assert element("input", type="search", required=True, hidden=False, id=None) == '<input type="search" required>'
    assert element("p", Markup("<b>x</b>"), None, " & ", 3, class_="n") == '<p class="n"><b>x</b> &amp; 3</p>'
    assert element("rect", x=1) == '<rect x="1" />'


def test_a_page_runs_only_its_own_script():
    page = render(EVIL, [Section("a", EVIL, element("p", EVIL))], data={EVIL: EVIL}, script="let x = 1;")
    parsed = Parsed(page)
    assert parsed.tags.count("script") == 2 and "img" not in parsed.tags
    policy = dict(parsed.attributes)["content"]
    assert policy.startswith("default-src 'none'") or "default-src 'none'" in page
    assert re.search(r"script-src &#x27;sha256-[\w+/]{43}=&#x27;", page)
    assert "http:" not in page and "https:" not in page
    page.encode()  # no lone surrogates


def test_a_table_tells_the_numbers_that_its_text_rounds():
    columns = [Column("name", is_number=False), Column("count"), Column("time")]
    page = make_table(columns, [[EVIL, Cell("1,234", 1234), Cell("0.1", 0.0512, 0.5, "exact")]], keys=["7"])
    assert '<td class="n">1,234</td>' in page
    assert '<td data-v="0.0512" class="n">0.1<i class="bar exact" style="width:50.0%"></i></td>' in page
    assert 'data-key="7"' in page and "<script" not in page


def test_bars_and_points_stand_where_their_values_say():
    page = bars([Bar("a<b", [Track(0.25, "main", "1 s"), Track(1, "other", "4 s")])], {"main": "now"})
    assert re.findall(r'class="bar (\w+)" style="width:([\d.]+)%"', page) == [("main", "25.00"), ("other", "100.00")]
    assert "a&lt;b" in page and "now" in page
    plot = scatter(
        [Point(10, 1, "conv", "p", "3"), Point(1000, 100, "conv", "q")], [Line((10, 1), (100, 10), "r")], "x", "y"
    )
    assert re.findall(r'cx="([\d.]+)%" cy="([\d.]+)%"', plot) == [("0.00", "100.00"), ("100.00", "0.00")]


@pytest.mark.parametrize("values", [[], [(5.0, 5.0)]])
def test_a_scatter_plot_of_little(values):
    assert "<svg" in scatter([Point(x, y, "conv", "") for x, y in values], [], "x", "y")
