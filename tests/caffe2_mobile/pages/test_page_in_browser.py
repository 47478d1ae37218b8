"""The page in a real browser: what it shows is what Python says, at both widths, and its console stays silent."""

import pytest

from caffe2_common.pages import render
from exporters.int8.report import layer_sections

WIDTHS = (400, 1600)

# Of an element's text in the row of operator arguments[0] under the heading arguments[1].
CELL = """
const heads = [...document.querySelectorAll('#operators thead th')].map(h => h.textContent);
const row = document.querySelector(`#operators tbody tr[data-key="${arguments[0]}"]`);
return row.cells[heads.indexOf(arguments[1])].textContent;
"""


@pytest.fixture(scope="module")
def page(result, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "pair.html"
    result.save(path)
    return path


@pytest.fixture(params=WIDTHS)
def opened(browser, page, request):
    """The page at a width; what the console says is an error of the test."""
    resize(browser, request.param)
    browser.get(page.as_uri())
    yield browser
    assert browser.get_log("browser") == []


def resize(browser, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def find(browser, selector):
    return browser.find_element("css selector", selector)


def texts(browser, selector):
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(x => x.textContent)", selector
    )


def click(browser, selector):
    """Where a person would, with the element scrolled to."""
    element = find(browser, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'nearest'})", element)
    element.click()


def panel(browser):
    """Entry -> text, of the operator that is chosen."""
    names, values = texts(browser, "#panel dl:first-of-type dt"), texts(browser, "#panel dl:first-of-type dd")
    return dict(zip(names, values, strict=True))


def test_it_fits_the_width_and_its_names_are_text(opened, result):
    width = opened.execute_script("const root = document.documentElement; return [root.clientWidth, root.scrollWidth]")
    assert width[0] == width[1]
    assert opened.title == result.title  # which no name in the net could change
    assert texts(opened, "h1") == [result.title]
    assert texts(opened, "section img[src='x']") == [] and len(opened.find_elements("css selector", "script")) == 2
    small = opened.execute_script("return Math.min(...[...document.querySelectorAll('main *')]"
                                  ".filter(x => x.childElementCount == 0 && x.textContent && !x.closest('#pane'))"
                                  ".map(x => parseFloat(getComputedStyle(x).fontSize)))")  # fmt: skip
    assert small >= 12  # pixels; the graph has its own zoom


def test_the_findings_come_first_and_lead_to_their_operators(opened, result):
    shown = texts(opened, ".findings li")
    assert all(text.startswith(str(finding)) for text, finding in zip(shown, result.findings, strict=True))
    finding = next(finding for finding in result.findings if finding.places)
    click(opened, ".findings button")
    assert find(opened, "#panel h3").text == f"{finding.places[0]} {result.rows[finding.places[0]].type}"


def test_a_click_shows_what_is_known_of_an_operator(opened, result):
    row = next(row for row in result.rows if row.output == "block.0.sum_int8")
    click(opened, f'.operator[data-key="{row.place}"]')
    shown, error = panel(opened), {error.name: error for error in result.errors}[row.output]
    assert find(opened, "#panel h3").text == f"{row.label} Int8Sum"
    assert shown["writes"] == row.output and shown["block"] == row.block and shown["arguments"] == row.arguments
    assert shown["SQNR"].startswith(f"{float(f'{error.sqnr_db:.3g}'):g} dB")
    times = [text for name, text in shown.items() if name == "time"]
    assert times == [f"{float(f'{result.times[1].by_place[row.place]:.4g}'):,g} µs here, exact, 1 thread (measured)"]
    seen, blob = result.activations[row.output], row.outputs[0]
    assert f"zero point {blob.zero_point}" in texts(opened, "#panel dd")[-1]
    assert opened.execute_script("return document.querySelectorAll('.histogram i').length") == len(seen.counts)
    empty = opened.execute_script("return document.querySelectorAll('.histogram .unused').length")
    assert empty == seen.counts.count(0)
    marked = opened.execute_script("return [...document.querySelectorAll('.chosen')].map(x => x.dataset.key)")
    assert marked.count(str(row.place)) >= 3  # graph, strip, table
    click(opened, "#panel button.link")  # to what it reads
    assert find(opened, "#panel h3").text.startswith(f"{row.inputs[0].source} ")


def test_the_search_finds_by_type_and_by_name(opened, result):
    field = find(opened, "#search")
    field.send_keys("int8conv stem")
    wanted = [row for row in result.rows if row.type.startswith("Int8Conv") and "stem" in row.output]
    assert len(wanted) == 1 and find(opened, "#found").text == "1 found"
    field.send_keys("\ue007")  # Enter
    assert panel(opened)["writes"] == wanted[0].output
    hidden = opened.execute_script("return document.querySelectorAll('#operators tr.dim').length")
    assert hidden == len(result.rows) - 1
    field.clear()
    field.send_keys("a")
    field.send_keys("\ue003")  # Backspace
    assert opened.execute_script("return document.querySelectorAll('.dim').length") == 0


@pytest.mark.parametrize(
    ("heading", "values"),
    {
        "µs device": lambda result: [result.times[0].by_place.get(row.place) for row in result.rows],
        "parameters": lambda result: [row.parameters for row in result.rows],
        "SQNR dB": lambda result: [
            {error.name: error.sqnr_db for error in result.errors}.get(row.output) for row in result.rows
        ],
    }.items(),
)
def test_the_table_sorts(opened, result, heading, values):
    figures = values(result)
    known = [place for place, value in enumerate(figures) if value is not None]
    places = "return [...document.querySelectorAll('#operators tbody tr')].map(x => Number(x.dataset.key))"
    button = f"//section[@id='operators']//button[text()='{heading}']"
    for sign in (-1, 1):
        element = opened.find_element("xpath", button)
        opened.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", element)
        element.click()
        order = opened.execute_script(places)
        assert [figures[place] for place in order[: len(known)]] == pytest.approx(
            sorted((figures[place] for place in known), key=lambda value: sign * value), rel=0.006
        )
        assert sorted(order[len(known) :]) == sorted({*range(len(figures))} - {*known})


def test_the_table_says_what_python_says(opened, result):
    for row in result.rows:
        assert opened.execute_script(CELL, row.place, "type") == row.type
        assert opened.execute_script(CELL, row.place, "writes") == row.output
        assert opened.execute_script(CELL, row.place, "M MAdds") == f"{row.macs / 1e6:.2f}"
        assert opened.execute_script(CELL, row.place, "µs here") == f"{result.times[1].by_place[row.place]:.1f}"


def test_colours_follow_the_measure(opened, result):
    slowest = max(result.times[0].by_place, key=lambda place: result.times[0].by_place[place])
    colour = f"""return getComputedStyle(document.querySelector('.operator[data-key="{slowest}"] rect')).fill"""
    by_time = opened.execute_script(colour)
    choose = "const c = document.getElementById('colour'); c.value = arguments[0]; c.dispatchEvent(new Event('change'))"
    opened.execute_script(choose, "")
    plain = opened.execute_script(colour)
    opened.execute_script(choose, "device")
    assert opened.execute_script(colour) == by_time != plain


def test_the_keyboard_goes_along_the_graph(opened, result):
    pane = find(opened, "#pane")
    pane.send_keys("\ue011")  # Home
    assert find(opened, "#panel h3").text == f"0 {result.rows[0].type}"
    pane.send_keys("\ue015")  # down
    assert find(opened, "#panel h3").text == f"1 {result.rows[1].type}"
    pane.send_keys("\ue013")  # up
    assert find(opened, "#panel h3").text == f"0 {result.rows[0].type}"
    width = opened.execute_script("return document.querySelector('#pane svg').getBoundingClientRect().width")
    pane.send_keys("+")
    wider = opened.execute_script("return document.querySelector('#pane svg').getBoundingClientRect().width")
    assert wider == pytest.approx(1.25 * width, rel=0.01)
    find(opened, "body").send_keys("/")
    assert opened.execute_script("return document.activeElement.id") == "search"


def test_dark_is_dark(browser, page):
    ground = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    browser.get(page.as_uri())
    for scheme, is_dark in (("dark", True), ("light", False)):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        assert (max(browser.execute_script(ground)) < 64) == is_dark


def test_the_parts_of_the_int8_report_are_the_same(result):
    page, report = result.to_html(), render("report", layer_sections(result.errors))
    for section in layer_sections(result.errors):
        assert section.content in page and section.content in report


def test_a_thousand_operators_open(browser, thousand, tmp_path):
    thousand.save(tmp_path / "thousand.html")
    resize(browser, 1600)
    browser.get((tmp_path / "thousand.html").as_uri())
    assert len(browser.find_elements("css selector", ".operator")) == 1000
    click(browser, '.strip i[data-key="900"]')
    inside = """const node = document.querySelector('.operator[data-key="900"]').getBoundingClientRect();
    const pane = document.getElementById('pane').getBoundingClientRect();
    return node.top >= pane.top && node.bottom <= pane.bottom && node.left >= pane.left && node.right <= pane.right;"""
    assert browser.execute_script(inside)
    assert browser.get_log("browser") == []
