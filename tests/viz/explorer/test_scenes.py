"""Real clicks and hovers: what the page says equals the numbers of the model."""

import re

import pytest

from graphattn.explain import attention_rollout
from graphattn.viz.explorer.layers import STEPS
from tests.viz.explorer.scenes import SCENES, arguments, weights_of

PLACE = """([side, node]) => {
  at('frame').scrollTop = picture.centre({side, node})[1] - 100;
  const [x, y] = picture.centre({side, node}), box = at('stage').getBoundingClientRect();
  return [x + box.left, y + box.top];
}"""
TABLE = "rows => rows.map((row) => [+row.dataset.node, [...row.cells].slice(1).map((cell) => cell.textContent)])"
VIEWS = """scene.views.filter((one) => !one.layer.rollout)
  .map((one) => [one.layer.name, one.layer.first + one.head, one.queries, one.keys])"""


def point_at(page, side, node):
    """Moves the mouse onto a node, as a person does; returns where that is."""
    x, y = page.evaluate(PLACE, [side, node])
    page.mouse.move(x, y)
    settle(page)
    return x, y


def settle(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def wait_until(page, expression):
    """Until an expression holds, at most 5 s; asked from outside, as the policy of the page lets nobody evaluate in it."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{expression} does not come true")


def table_of(page):
    """{node: the numbers of its row}, each as it is written."""
    return dict(page.eval_on_selector_all("#weights tbody tr", TABLE))


def number(text):
    """A weight as the page writes it."""
    return float(text.replace("−", "-").removesuffix(" %")) / 100


def assert_says(page, row, total):
    """The sentence and the table give the edges and weights of one row, {node: weight}."""
    seen, of = map(int, re.search(r"(\d+) of (\d+) ", page.inner_text("#say")).groups()) if row else (0, total)
    assert (seen, of) == (len(row), total)
    shown = table_of(page)
    assert set(shown) <= set(row)
    for node, (text,) in shown.items():
        assert number(text) == pytest.approx(row[node], abs=6e-4 if row[node] >= 0.0995 else 8e-5)
    largest = sorted(row.values(), reverse=True)[: len(shown)]
    assert [number(text) for (text,) in shown.values()] == pytest.approx(largest, abs=6e-4)
    missing = [weight for node, weight in row.items() if node not in shown]
    assert len(shown) == 12 or all(
        abs(weight) <= 1 / STEPS for weight in missing
    )  # what is rounded to nothing is no row


@pytest.mark.parametrize("name", SCENES)
def test_hovering_tells_the_weights_of_the_model(name, made, show):
    page, scene = show(name), made(name)
    sides = [len(side["labels"]) for side in scene["page"].scenes[0]["sides"]]
    heads = weights_of(scene)
    views = page.evaluate(VIEWS)
    assert [(layer, head) for layer, head, *_ in views] == [(layer, head) for layer, head, _ in heads]
    for view in sorted({0, 1, len(heads) // 2, len(heads) - 1}):
        _, _, queries, keys = views[view]
        page.click(f'#heads button[data-view="{view}"]')
        for node in sorted({0, sides[queries] // 2, sides[queries] - 1}):
            point_at(page, queries, node)
            assert_says(
                page, {key: weight for (query, key), weight in heads[view][2].items() if query == node}, sides[keys]
            )
        page.select_option("#direction", "column")
        point_at(page, keys, sides[keys] // 3)
        assert_says(
            page,
            {query: weight for (query, key), weight in heads[view][2].items() if key == sides[keys] // 3},
            sides[queries],
        )
        page.select_option("#direction", "row")


def test_every_head_says_whom_the_node_attends_to_most(made, show):
    page, heads = show("words"), weights_of(made("words"))
    point_at(page, 0, 5)
    tokens = made("words")["data"].tokens
    for view, (_, _, table) in enumerate(heads):
        weight, key = max((weight, -key) for (query, key), weight in table.items() if query == 5)
        said = page.inner_text(f'#heads button[data-view="{view}"] .top')
        word, share = said.replace("\xa0", " ").split(" ", 1)
        assert word == tokens[-key] and number(share) == pytest.approx(weight, abs=6e-4)


def test_the_difference_of_two_heads(made, show):
    page, heads = show("words"), weights_of(made("words"))
    page.select_option("#second", label="layer 2 · head 3")
    point_at(page, 0, 6)
    first, second = (heads[view][2] for view in (0, 6))
    for node, (one, other, difference) in table_of(page).items():
        assert number(one) == pytest.approx(first[6, node], abs=6e-4)
        assert number(other) == pytest.approx(second[6, node], abs=6e-4)
        assert number(difference.replace("+", "")) == pytest.approx(first[6, node] - second[6, node], abs=6e-4)
    assert "differs most at" in page.inner_text("#say") and len(table_of(page)) == 7
    assert page.inner_text("#say").startswith("layer 1 · head 1 minus layer 2 · head 3")


def test_the_rollout_in_and_out_is_labelled_as_no_explanation(made, show):
    from graphattn.explain import attention_of

    page, scene = show("words"), made("words")
    assert page.is_hidden("#warning")
    page.click("#heads button:has-text('rollout')")
    settle(page)
    assert "no explanation" in page.inner_text("#warning")
    rollout = attention_rollout(attention_of(scene["model"], *arguments(scene)), 14).to_dense()
    point_at(page, 0, 9)
    assert_says_values(page, {node: float(weight) for node, weight in enumerate(rollout[9]) if weight})
    page.keyboard.press("r")
    settle(page)
    assert_says_values(page, {node: float(weight) for node, weight in enumerate(rollout[:, 9]) if weight})


def assert_says_values(page, row):
    shown = table_of(page)
    assert len(shown) == min(12, len(row))
    for node, (text,) in shown.items():
        assert number(text) == pytest.approx(row[node], abs=6e-4)


def test_a_click_keeps_a_node_until_escape(show):
    page = show("words")
    page.mouse.click(*point_at(page, 0, 3))
    point_at(page, 0, 8)
    assert "“not” may see" in page.inner_text("#say")
    page.keyboard.press("Escape")
    point_at(page, 0, 8)
    assert "“it” may see" in page.inner_text("#say")


def test_keys_move_through_nodes_and_heads(show):
    page = show("image", "#node=9")
    for key, node in (("ArrowRight", 10), ("ArrowDown", 17), ("ArrowLeft", 16), ("ArrowUp", 9)):
        page.focus("#stage")
        page.keyboard.press(key)
        settle(page)
        assert f"row {node // 7}, column {node % 7}” may see" in page.inner_text("#say")
    page.keyboard.press("n")
    settle(page)
    assert page.inner_text("#say").startswith("layer 1 · head 2")
    page.focus("#heads button[aria-checked=true]")
    page.keyboard.press("ArrowDown")
    settle(page)
    assert page.inner_text("#say").startswith("layer 1 · head 3")
    assert page.evaluate("document.activeElement.dataset.view") == "2"
    assert (
        page.get_attribute("#say", "aria-live") == "polite"
        and page.get_attribute("#stage", "aria-label") == "image: patch 10 of 35"
    )


def test_the_address_brings_the_same_view_back(show):
    page = show("words")
    page.click('#heads button[data-view="5"]')
    page.select_option("#direction", "column")
    page.select_option("#scale", "all")
    page.mouse.click(*point_at(page, 0, 7))
    settle(page)
    said, address = page.inner_text("#say"), page.evaluate("location.hash")
    again = show("words", address)
    assert (
        again.inner_text("#say") == said
        and again.input_value("#direction") == "column"
        and again.input_value("#scale") == "all"
    )
    for broken in ("#node=999&first=-4&side=7", "#scene=NaN&order=x&direction=up&second=1e9", "#%"):
        assert "may see" in show("words", broken).inner_text("#say")


def test_heads_are_sorted_by_spread_and_by_distance(made, show):
    page = show("words")
    layers = [layer for layer in made("words")["page"].scenes[0]["layers"]]
    for order, name, sign in (
        ("narrow", "spread", 1),
        ("wide", "spread", -1),
        ("near", "distance", 1),
        ("far", "distance", -1),
    ):
        page.select_option("#order", order)
        settle(page)
        values = [value for layer in layers for value in layer[name]]
        shown = page.eval_on_selector_all("#heads button", "buttons => buttons.map((button) => +button.dataset.view)")
        assert shown == sorted(range(len(values)), key=lambda view: (sign * values[view], view))


def test_writing_step_by_step(made, show):
    page, scene = show("writing"), made("writing")
    page.fill("#step", "5")
    settle(page)
    tokens, heads = scene["data"].tokens, weights_of(scene)
    assert f"“{tokens[4]}” may see 5 of 12" in page.inner_text("#say")
    assert_says(page, {key: weight for (query, key), weight in heads[0][2].items() if query == 4}, 12)
    scores = scene["model"](*arguments(scene)).detach()[4].softmax(0)
    said = page.inner_text("#predictions")
    best = int(scores.argmax())
    assert f"w{best} {100 * float(scores[best]):.2f} %" in said and f"next in the text: “{tokens[5]}”" in said
    page.select_option("#direction", "column")
    page.keyboard.press("Escape")
    point_at(page, 0, 1)
    assert "may be seen by 4 of 12" in page.inner_text("#say")  # of 11, those that are written: 1, 2, 3, 4
    page.click("#write")
    wait_until(page, "state.step === 4")


def test_predictions_beside_the_input(made, show):
    page, scene = show("words"), made("words")
    good = float(scene["model"](*arguments(scene)).softmax(1)[0, 1])
    said = page.inner_text("#predictions")
    assert "true: good" in said and number(re.search(r"good ([\d.]+ %)", said)[1]) == pytest.approx(good, abs=6e-4)
    page, scene = show("network"), made("network")
    point_at(page, 0, 11)
    one = float(scene["model"](*arguments(scene)).softmax(1)[11, 0])
    assert number(re.search(r"one ([\d.]+ %)", page.inner_text("#predictions"))[1]) == pytest.approx(one, abs=6e-4)
    assert f"{float(made('molecule')['model'](*arguments(made('molecule')))):.4g}" in show("molecule").inner_text(
        "#predictions"
    )


def test_a_sound_is_played_and_the_cursor_follows(show):
    page = show("sound", "#node=0")
    page.click("#play")
    wait_until(page, "state.node > 5")
    wait_until(page, "at('play').textContent === 'play'")


def test_a_network_is_zoomed_and_moved(show):
    page = show("network")
    before = page.evaluate("picture.centre({side: 0, node: 0})")
    page.click("[aria-label=larger]")
    larger = page.evaluate("picture.picture.zoom.factor")
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 350, box["y"] + 220, steps=4)
    page.mouse.up()
    moved = page.evaluate("picture.picture.zoom")
    assert larger == 1.5 and moved["x"] > -0.25 * box["width"]
    page.click("[aria-label='the whole network']")
    assert page.evaluate("picture.centre({side: 0, node: 0})") == before


@pytest.mark.parametrize("name", SCENES)
def test_svg_of_what_is_shown(name, show):
    import xml.etree.ElementTree

    page = show(name)
    with page.expect_download() as download:
        page.click("#svg")
    text = download.value.path().read_text()
    root = xml.etree.ElementTree.fromstring(text)
    assert root.tag.endswith("svg") and len(list(root)) > 3 and "head 1" in text
    assert download.value.suggested_filename.endswith(".svg")


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("has_classes", [False, True])
def test_names_are_legible_on_every_node(scheme, has_classes, show):
    import xml.etree.ElementTree

    page = show("network", color_scheme=scheme)
    if has_classes:
        page.evaluate("scene.shown.classes = scene.sides[0].labels.map((_, node) => node % 8)")
    for node in (0, 11, 33):
        point_at(page, 0, node)
        with page.expect_download() as download:
            page.click("#svg")
        found = contrasts(xml.etree.ElementTree.fromstring(download.value.path().read_text()))
        assert len(found) == 34 and min(found.values()) > 3.5, (node, min(found, key=found.get), min(found.values()))


def contrasts(svg):
    """{name of a node: contrast of its letters (WCAG 2) with the circles that lie under them}."""
    colour = lambda text: [int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)]  # noqa: E731
    paper, circles, found = colour(svg[0].get("fill")), [], {}
    for element in svg:
        kind = element.tag.rpartition("}")[2]
        if kind == "circle" and element.get("fill") != "none":
            circles.append(element)
        if kind == "text" and element.get("text-anchor") == "middle":
            under = paper
            for circle in circles:
                if all(abs(float(circle.get(f"c{axis}")) - float(element.get(axis))) < 0.01 for axis in "xy"):
                    share = float(circle.get("opacity", 1))
                    under = [share * new + (1 - share) * old for new, old in zip(colour(circle.get("fill")), under)]
            light, dark = sorted((luminance(under), luminance(colour(element.get("fill")))), reverse=True)
            found[element.text] = (light + 0.05) / (dark + 0.05)
    return found


def luminance(colour):
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_dark_and_light_and_narrow(show):
    dark, light = (
        show("words", color_scheme=scheme, viewport={"width": 400, "height": 800}) for scheme in ("dark", "light")
    )
    papers = [page.evaluate("getComputedStyle(document.body).backgroundColor") for page in (dark, light)]
    assert papers == ["rgb(21, 22, 26)", "rgb(255, 255, 255)"]
    dark.click("#theme")
    assert dark.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert light.evaluate("document.documentElement.scrollWidth") <= 400
    for name in SCENES:
        assert (
            show(name, viewport={"width": 400, "height": 800}).evaluate("document.documentElement.scrollWidth") <= 400
        )


def test_names_are_text_and_no_markup(show):
    page = show("words")
    assert (
        page.evaluate("[...document.querySelectorAll('#text span')].map((span) => span.textContent)")[11] == "</script>"
    )
    assert page.evaluate("document.querySelectorAll('#text b').length") == 0


def elements_of(page):
    """What lies in the SVG of the page, in the order in which it is drawn: (kind, attributes, text)."""
    import xml.etree.ElementTree

    with page.expect_download() as download:
        page.click("#svg")
    svg = xml.etree.ElementTree.fromstring(download.value.path().read_text())
    return [(element.tag.rpartition("}")[2], element.attrib, element.text) for element in svg]


def test_lines_to_other_lines_of_a_text_cross_no_words(show):
    page = show("words", "#node=5", viewport={"width": 400, "height": 800})
    settle(page)
    words = page.evaluate("picture.places[0]")
    assert len({round(word["y"]) for word in words}) > 1
    sides = {round(word["y"] + side * word["height"], 2) for word in words for side in (0, 1)}
    paths = [about["d"] for kind, about, _ in elements_of(page) if kind == "path"]
    ends = [tuple(map(float, re.fullmatch(r"M\S+ (\S+)C.* (\S+)", path).groups())) for path in paths]
    gaps = {round(abs(end - start), 2) for start, end in ends if abs(end - start) >= 4}
    assert gaps and max(gaps) < min(word["height"] for word in words)
    assert all(round(end, 2) in sides for line in ends for end in line)


def test_no_line_hides_the_name_of_a_node(show):
    page = show("network", "#node=33")
    settle(page)
    drawn = elements_of(page)
    last_line = max(place for place, (kind, *_) in enumerate(drawn) if kind == "path")
    above = [
        about
        for kind, about, _ in drawn[last_line:]
        if kind == "circle" and about["fill"] != "none" and "opacity" not in about
    ]
    covered = {(float(about["cx"]), float(about["cy"])) for about in above}
    names = [about for kind, about, _ in drawn if kind == "text" and about["text-anchor"] == "middle"]
    assert len(names) == 34 and {(float(name["x"]), float(name["y"])) for name in names} == covered


def test_names_in_a_large_network_lie_apart_on_paper(browser, tmp_path):
    import torch
    from torch_geometric.data import Data

    from graphattn.nn import GATConv
    from graphattn.viz import explore
    from tests.chromium import Tab

    torch.manual_seed(0)
    data = Data(x=torch.randn(500, 8), edge_index=torch.randint(500, (2, 9000)))
    explore(GATConv(8, 2).eval(), data, tmp_path / "page.html")
    page = Tab(browser).page
    page.goto(f"file://{tmp_path}/page.html")
    page.wait_for_selector("body[data-ready]")
    counts = set()
    for node in range(0, 500, 50):
        page.evaluate(f"change({{ node: {node} }})")
        settle(page)
        names = [about | {"text": text} for kind, about, text in elements_of(page) if kind == "text"][
            :-1
        ]  # but the title
        counts.add(len(names))
        assert {name["stroke"] for name in names} == {"#ffffff"} and {name["paint-order"] for name in names} == {
            "stroke"
        }
        boxes = [(float(name["x"]), float(name["y"]), float(name["x"]) + 7 * len(name["text"])) for name in names]
        for place, (left, y, right) in enumerate(boxes):
            assert not [
                other for other in boxes[:place] if abs(other[1] - y) < 13 and left < other[2] and other[0] < right
            ]
    assert max(counts) > 5 and len(counts) > 1


def test_lines_between_two_rows_leave_their_names_alone(show):
    page = show("translation")
    last_word = page.evaluate("Math.max(...picture.places[0].map(({ y, height }) => y + height))")
    name = page.evaluate(
        "document.querySelector('#text .row:last-child b').getBoundingClientRect().top - at('text').getBoundingClientRect().top"
    )
    assert name >= last_word


def test_marks_on_a_molecule_are_as_large_as_its_drawing(show):
    radius = {}
    for width in (400, 1400):
        page = show("molecule", "#node=1", viewport={"width": width, "height": 800})
        settle(page)
        circles = [float(about["r"]) for kind, about, _ in elements_of(page) if kind == "circle"]
        radius[width] = max(circles) / page.evaluate("picture.picture.scale")
    assert radius[400] == pytest.approx(18) and radius[1400] <= 18


def test_zoom_stands_in_the_address_and_keys_stay_in_sight(show):
    page = show("network")
    page.click("[aria-label=larger]")
    page.click("[aria-label=larger]")
    page.focus("#stage")
    for _ in range(33):
        page.keyboard.press("ArrowRight")
        settle(page)
        x, y = page.evaluate("picture.centre(state)")
        width, height = page.evaluate("[picture.width, picture.height]")
        assert 0 <= x <= width and 0 <= y <= height
    again = show("network", page.evaluate("location.hash"))
    assert again.evaluate("picture.picture.zoom.factor") == 2.25
    assert again.evaluate("picture.centre(state)") == pytest.approx([x, y], abs=1)
    for broken in ("#zoom=x", "#zoom=-3,0,0", "#zoom=2,NaN,0"):
        assert show("network", broken).evaluate("picture.picture.zoom.factor") == 1


def test_the_focus_is_seen_and_stays(browser, tmp_path, made):
    from graphattn.viz import join_pages
    from tests.chromium import Tab

    join_pages([made("words")["page"], made("network")["page"]], path=tmp_path / "page.html")
    page = Tab(browser).page
    page.goto(f"file://{tmp_path}/page.html")
    page.wait_for_selector("body[data-ready]")
    page.focus("[role=tab] >> nth=1")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"
    while page.evaluate("document.activeElement.id") != "stage":
        page.keyboard.press("Tab")
    ring = page.evaluate(
        "(({ outlineStyle, outlineWidth }) => [outlineStyle, outlineWidth])(getComputedStyle(at('frame')))"
    )
    assert ring == ["solid", "2px"]  # of the frame: what it cuts off is not seen


def test_pixels_stay_pixels_in_svg(show):
    drawn = {
        name: {about["image-rendering"] for kind, about, _ in elements_of(show(name)) if kind == "image"}
        for name in ("image", "sound", "molecule")
    }
    assert drawn == {"image": {"pixelated"}, "sound": {"pixelated"}, "molecule": {"auto"}}
