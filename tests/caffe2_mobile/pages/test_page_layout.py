"""The picture of a graph: nothing overlaps, edges lead down, the same net is always drawn alike."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe2_mobile.pages.layout import HEIGHT, WIDTH, lay_out, longest_path_ranks, spaced
from caffe2_mobile.pages.operators import stem


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 25))
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] < pair[1])
    return count, draw(st.lists(pairs, max_size=40)) if count > 1 else []


@settings(max_examples=50)
@given(graphs())
def test_nothing_overlaps_and_edges_lead_down(graph):
    count, edges = graph
    layout = lay_out(count, edges)
    assert layout == lay_out(count, edges)
    for number, (x, y) in enumerate(layout.nodes):
        assert WIDTH / 2 <= x <= layout.width - WIDTH / 2 + 1e-6 and HEIGHT / 2 <= y <= layout.height - HEIGHT / 2
        for x2, y2 in layout.nodes[:number]:
            assert abs(x - x2) > WIDTH - 1e-6 or abs(y - y2) > HEIGHT
    for (source, to), points in zip(edges, layout.edges, strict=True):
        assert points[0] == layout.nodes[source] and points[-1] == layout.nodes[to]
        assert all(high[1] < low[1] for high, low in itertools.pairwise(points))


def test_a_chain_with_shortcuts_is_straight():
    chain = [(k, k + 1) for k in range(60)]
    shortcuts = [(k, k + 4) for k in range(0, 56, 4)]
    columns = [x for x, _ in lay_out(61, chain + shortcuts).nodes]
    assert max(columns) - min(columns) < 2  # pixels


def test_a_constant_stands_by_its_reader():
    assert longest_path_ranks(4, [(0, 1), (1, 3), (2, 3)]) == [0, 1, 1, 2]


@settings(max_examples=50)
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8))
def test_places_in_a_row_keep_their_distance(wanted):
    offsets = [10.0 * k for k in range(len(wanted))]
    places = spaced(wanted, offsets, [1.0] * len(wanted))
    assert all(right - left >= 10 - 1e-6 for left, right in itertools.pairwise(places))
    assert sum(places) == pytest.approx(sum(wanted), abs=1e-6)  # least squares move as far left as right


@pytest.mark.parametrize(
    ("name", "block"),
    {
        "blocks.1.0.conv_pw": "blocks.1.0",
        "v1/fbn2_2_dw1_conv_int8": "fbn2_2",
        "res2_0_branch2a": "res2_0",
        "layer1.0.conv1": "layer1.0",
        "Conv2d_5_depthwise/Relu6": "Conv2d_5",
        "pool5": "",
        "123": "",
        "": "",
    }.items(),
)
def test_names_tell_blocks(name, block):
    assert stem(name) == block
