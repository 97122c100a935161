"""The page as a file: what it may do, how large it is, what it says of what it leaves out; and in notebooks."""

import base64
import hashlib
import json
import re

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, PerHead, causal
from graphattn.inputs import from_text
from graphattn.nn import GATConv, GraphAttention, GraphTransformer
from graphattn.viz import Page, explore, join_pages
from graphattn.viz.explorer.calls import arguments_for, evaluating
from graphattn.viz.explorer.masks import rows_of, write_mask
from graphattn.viz.explorer.page import FOLDER
from tests.chromium import Tab


def sentence(length=6, channels=8):
    data = from_text(" ".join(f"w{node}" for node in range(length)))
    data.x = torch.randn(length, channels)
    return data


def test_the_page_beside_its_data_is_small_and_may_ask_for_nothing(tmp_path):
    text = explore(GraphTransformer(8, 1, heads=2), sentence(), tmp_path / "new" / "page.html").html()
    assert (tmp_path / "new" / "page.html").read_text() == text
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert len(text.encode()) - len(data.encode()) < 300_000 and json.loads(data)["scenes"]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    script, style = (
        re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1],
        re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1],
    )
    for part in (script, style):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" in policy
    outside = text.replace("http://www.w3.org/2000/svg", "")  # the name of a language, never fetched
    assert not re.search(r"https?://|@import|url\(", outside)


def test_nothing_in_the_data_is_taken_for_a_part_of_the_page():
    data = sentence(3)
    data.tokens = ["/*script*/", "</script><script>alert(1)</script>", "<!--title-->"]
    text = explore(GraphTransformer(8, 1, heads=2), data, title='/*style*/ <b> "&').html()
    assert text.count("</script>") == 2 and "<title>/*style*/ &lt;b&gt; &quot;&amp;</title>" in text


def edges_of(mask, num_queries, num_keys):
    """What the page makes of a mask, by plain loops."""

    def read(part):
        return np.frombuffer(base64.b64decode(part["text"]), f"<u{part['bytes']}")

    if "low" in mask:
        wanted = [
            query + offset
            for query in range(num_queries)
            for offset in range(mask["low"], mask["high"] + 1, mask["step"])
        ]
        count = len(range(mask["low"], mask["high"] + 1, mask["step"]))
        return {(place // count, key) for place, key in enumerate(wanted) if 0 <= key < num_keys}
    queries = np.repeat(np.arange(num_queries), read(mask["counts"]))
    return set(zip(queries.tolist(), read(mask["keys"]).tolist()))


MASKS = {
    "complete": (CompleteGraph(5), True),
    "rectangular": (CompleteGraph(3, 7), True),
    "causal": (causal(6), True),
    "band": (BandedGraph(9, 2, 1), True),
    "dilated": (BandedGraph(11, 2, 1, dilation=3), True),
    "offset": (BandedGraph(4, 2, 0, num_keys=9, offset=3), True),
    "beside": (BandedGraph(5, 1, 1, num_keys=12, offset=4), True),
    "edges": (EdgeListGraph(torch.tensor([[0, 5, 2, 2], [1, 1, 3, 0]]), 6), False),
    "a hole": (EdgeListGraph(torch.tensor([[0, 2], [0, 2]]), 3), False),
    "one edge": (EdgeListGraph(torch.tensor([[3], [1]]), 4), False),
    "no edge": (EdgeListGraph(torch.empty(2, 0, dtype=torch.long), 4), False),
    "many keys": (EdgeListGraph(torch.tensor([[70_000, 3, 69_999], [0, 2, 1]]), 4, 70_001), False),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_short_and_hold_the_edges(name):
    graph, is_short = MASKS[name]
    edge_index = graph.edge_index()
    edge_index = edge_index[:, torch.randperm(edge_index.size(1))]
    mask = write_mask(rows_of(edge_index, torch.ones(edge_index.size(1), 1), *graph.shape), graph.num_keys)
    assert edges_of(mask, *graph.shape) == set(map(tuple, edge_index.flip(0).t().tolist()))
    assert ("low" in mask) == is_short


def test_repeated_edges_add_up():
    edge_index, weights = torch.tensor([[2, 0, 2], [1, 1, 1]]), torch.tensor([[0.25], [0.5], [0.125]])
    rows = rows_of(edge_index, weights, 3, 3)
    assert (
        rows.counts.tolist() == [0, 2, 0]
        and rows.keys.tolist() == [0, 2]
        and rows.weights[:, 0].tolist() == [0.5, 0.375]
    )


@pytest.mark.parametrize("name", ["page.png", "page.SVG"])
def test_a_page_is_no_picture(tmp_path, name):
    with pytest.raises(ValueError, match=f"a page is a file of HTML .got .*{name}"):
        explore(GraphTransformer(8, 1, heads=2), sentence(), tmp_path / name)
    assert not (tmp_path / name).exists()


def test_too_many_weights_keep_the_largest_and_say_so(browser, tmp_path):
    torch.manual_seed(0)
    model, data = GraphAttention(8, 2, heads=3).eval(), sentence(40)
    page = explore(model, data, tmp_path / "page.html", max_weights=1200)
    _, (edge_index, weights) = model(data.x, data.graph, return_attention_weights=True)
    dense = torch.zeros(40, 40, 3).index_put_((edge_index[1], edge_index[0]), weights.detach())
    kept = dense.topk(10, dim=1).values.sum(1)
    said = page.scenes[0]["notes"][0]
    assert "the 10 largest" in said or "10 or" in said
    assert page.scenes[0]["layers"][0]["left"] == pytest.approx(float((1 - kept).max()), abs=1e-5)
    tab = Tab(browser)
    tab.page.goto(f"file://{tmp_path}/page.html#node=7&first=1")
    tab.page.wait_for_selector("body[data-ready]")
    assert "may see 40 of 40" in tab.page.inner_text("#say") and said in tab.page.inner_text("#notes")
    row = tab.page.evaluate("Array.from(scene.views[1].of(7, 'row').weights)")
    column = tab.page.evaluate("Array.from(scene.views[1].of(3, 'column').weights)")
    smallest = dense.topk(10, dim=1).values[:, -1, 1]
    cut = torch.where(dense[:, :, 1] >= smallest[:, None], dense[:, :, 1], 0)
    assert row == pytest.approx(cut[7].tolist(), abs=1e-5) and column == pytest.approx(cut[:, 3].tolist(), abs=1e-5)


def test_large_networks_are_sampled_and_say_so():
    torch.manual_seed(0)
    data = Data(x=torch.randn(300, 8), edge_index=torch.randint(300, (2, 900)))
    scene = explore(GATConv(8, 2, heads=2), data, max_nodes=50).scenes[0]
    assert scene["notes"][0].startswith("50 of 300 nodes are shown, around those of most edges")
    assert len(scene["sides"][0]["labels"]) == len(scene["sides"][0]["numbers"]) == len(scene["shown"]["places"]) == 50
    words = explore(GraphTransformer(8, 1, heads=2), sentence(30), max_nodes=20).scenes[0]
    assert (
        words["notes"][0].startswith("20 of 30 words are shown, the first") and len(words["sides"][0]["labels"]) == 20
    )


def test_models_and_inputs_are_compared(browser, tmp_path):
    torch.manual_seed(0)
    models = {"young": GraphTransformer(8, 1, heads=2).eval(), "old": GraphTransformer(8, 1, heads=2).eval()}
    inputs = {"one": sentence(), "two": sentence(), "longer": sentence(7)}
    explore(models, inputs, tmp_path / "page.html")
    tab = Tab(browser)
    tab.page.goto(f"file://{tmp_path}/page.html#node=2")
    tab.page.wait_for_selector("body[data-ready]")
    choices = tab.page.eval_on_selector_all("#second option", "options => options.map((option) => option.textContent)")
    assert "old · layer 1 · head 1" in choices and "two: young · layer 1 · head 1" in choices
    assert not any(choice.startswith("longer") for choice in choices)  # other nodes: nothing to subtract
    for label, model, data in (
        ("old · layer 1 · head 1", "old", "one"),
        ("two: young · layer 1 · head 1", "young", "two"),
    ):
        tab.page.select_option("#second", label=label)
        found = tab.page.evaluate("Array.from(view().of(2, 'row').weights)")
        _, (_, first) = attention_layer(models["young"], inputs["one"])
        _, (_, second) = attention_layer(models[model], inputs[data])
        assert found == pytest.approx((first - second)[12:18, 0].tolist(), abs=1e-4)
    tab.page.click("[role=tab] >> nth=2")
    tab.page.wait_for_timeout(200)
    assert "of 7 words" in tab.page.inner_text("#say") and not tab.errors


def attention_layer(model, data):
    x = model.layers[0].attention_norm(data.x) if hasattr(model.layers[0], "attention_norm") else data.x
    from graphattn.explain import attention_of

    return x, next(iter(attention_of(model, data.x, data.graph).values()))


def test_a_graph_for_each_head(tmp_path):
    graph = PerHead([causal(6), CompleteGraph(6)])
    data = sentence()
    scene = explore(GraphAttention(8, 4, heads=2), data, args=(data.x, graph)).scenes[0]
    assert [(layer["first"], layer["heads"]) for layer in scene["layers"]][:2] == [(0, 1), (1, 1)]
    assert scene["layers"][0]["mask"]["high"] == 0 and scene["layers"][1]["mask"]["high"] == 5


class TakesBatch(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = GraphAttention(8, 4, heads=2)

    def forward(self, batch):
        assert isinstance(batch, Batch)
        return self.layer(batch.x, batch.graph)


def test_how_a_model_is_called():
    data = sentence()
    assert explore(TakesBatch(), data).scenes[0]["layers"][0]["heads"] == 2
    assert arguments_for(GATConv(8, 2), Data(x=data.x, edge_index=torch.tensor([[0], [1]])))[1].tolist() == [[0], [1]]
    assert arguments_for(TakesBatch(), data, lambda given: (given.x, 3))[1] == 3
    with pytest.raises(ValueError, match=r"forward takes .'x', 'edge_index'., and 'data' has no 'edge_index'.*args="):
        explore(GATConv(8, 2), data)
    with pytest.raises(TypeError, match="'data' must be a torch_geometric Data.*got Tensor"):
        explore(TakesBatch(), data.x)
    with pytest.raises(ValueError, match="'kind' must be one of"):
        explore(TakesBatch(), data, kind="text")
    with pytest.raises(ValueError, match="'labels' must have one entry for each of 6 nodes .got 2."):
        explore(TakesBatch(), data, labels=["a", "b"])
    with pytest.raises(ValueError, match="'classes' must name the 8 outputs of the model .got 3 names."):
        explore(TakesBatch(), data, classes=["a", "b", "c"])
    with pytest.raises(ValueError, match="'max_weights' must be at least 1"):
        explore(TakesBatch(), data, max_weights=0)


@pytest.mark.parametrize(("edges", "says"), [([[], []], "may see no node"), ([[0], [1]], "may see no node")])
def test_networks_with_nodes_that_see_nobody(edges, says, browser, tmp_path):
    graph = EdgeListGraph(torch.tensor(edges, dtype=torch.long), 5)
    explore(GraphTransformer(8, 1, heads=2), Data(x=torch.randn(5, 8), graph=graph), tmp_path / "page.html")
    tab = Tab(browser)
    tab.page.goto(f"file://{tmp_path}/page.html")
    tab.page.wait_for_selector("body[data-ready]")
    assert says in tab.page.inner_text("#say") and not tab.errors


def test_what_has_nothing_to_show():
    with pytest.raises(ValueError, match="an input without nodes has nothing to show"):
        explore(GraphTransformer(8, 1, heads=2), Data(x=torch.randn(0, 8), graph=CompleteGraph(0), tokens=[]))
    with pytest.raises(ValueError, match="no layer of Linear gives attention weights"):
        explore(torch.nn.Linear(8, 2), sentence())


def test_half_precision_and_training_mode():
    model = GraphTransformer(8, 1, heads=2, dropout=0.5).bfloat16().train()
    data = sentence()
    data.x = data.x.bfloat16()
    scenes = [explore(model, data).scenes[0] for _ in range(2)]
    assert scenes[0]["layers"][0]["weights"] == scenes[1]["layers"][0]["weights"] and model.training


def test_modes_come_back():
    model = GraphTransformer(8, 2, heads=2, dropout=0.5)
    model.layers[0].eval()
    before = [module.training for module in model.modules()]
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before


def test_weights_below_zero_and_above_one(browser, tmp_path):
    torch.manual_seed(0)
    model, data = GraphAttention(8, 4, heads=2, normalizer="identity").eval(), sentence()
    data.x = 4 * data.x
    explore(model, data, tmp_path / "page.html")
    _, (_, weights) = model(data.x, data.graph, return_attention_weights=True)
    assert weights.min() < 0 and weights.max() > 1
    tab = Tab(browser)
    tab.page.goto(f"file://{tmp_path}/page.html#node=3")
    tab.page.wait_for_selector("body[data-ready]")
    row = tab.page.evaluate("Array.from(scene.views[0].of(3, 'row').weights)")
    assert row == pytest.approx(weights[18:24, 0].tolist(), abs=float(weights.max() - weights.min()) / 65535)
    assert "The rollout is left out" in tab.page.inner_text("#notes") and not tab.errors


def test_pages_are_joined(tmp_path):
    pages = [explore(GraphTransformer(8, 1, heads=2), {name: sentence()}) for name in ("one", "two")]
    joined = join_pages(pages, "both", tmp_path / "page.html")
    assert [scene["title"] for scene in joined.scenes] == ["one", "two"] and (tmp_path / "page.html").exists()
    assert isinstance(joined, Page)


def test_in_a_notebook(browser, tmp_path):
    """The module of the widget with a model in the place of the notebook's."""
    pytest.importorskip("anywidget", reason="widgets need anywidget")
    page = explore(GraphTransformer(8, 1, heads=2), sentence())
    widget = page.widget()
    assert widget.page == page.html()
    assert "application/vnd.jupyter.widget-view+json" in page._repr_mimebundle_()[0]
    (tmp_path / "widget.js").write_text((FOLDER / "widget.js").read_text())
    (tmp_path / "notebook.html").write_text(
        "<div id=cell></div><script>" + (FOLDER / "widget.js").read_text().replace("export default { render };", "")
        + f"const values = {{height: 500, page: {json.dumps(page.html()).replace('</', '<' + chr(92) + '/')}}};"
        "const model = {get: (name) => values[name], set: (name, value) => values[name] = value,"
        " save_changes: () => values.saved = true};"
        "render({model, el: document.getElementById('cell')});</script>")  # fmt: skip
    tab = Tab(browser)
    tab.page.goto(f"file://{tmp_path}/notebook.html")
    frame = tab.page.frame_locator("iframe")
    frame.locator("#heads button >> nth=1").click()
    frame.locator("#stage").focus()
    tab.page.keyboard.press("ArrowRight")
    tab.page.wait_for_function("values.saved && values.state.node === 1 && values.state.first === 1", timeout=5000)
    assert tab.page.evaluate("values.state.name") == "w1" and not tab.errors and not tab.foreign


def test_in_a_notebook_without_anywidget(monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "anywidget":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    page = explore(GraphTransformer(8, 1, heads=2), sentence())
    assert page._repr_mimebundle_()["text/html"].startswith('<iframe sandbox="allow-scripts')
    with pytest.raises(ImportError, match="pip install anywidget"):
        page.widget()
