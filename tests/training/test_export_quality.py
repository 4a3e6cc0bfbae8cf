"""Eight bits: how matrices are rounded, what that costs, and what is done about it."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from gingham import EmptyInputError, Encoder, ModelError
from gingham.cli.main import app
from gingham.training.exporting import export
from gingham.training.exporting.calibration import read_texts
from gingham.training.exporting.eight_bits import Quantisation, products, quantise
from gingham.training.exporting.folder import save_graph
from gingham.training.exporting.rounding import Rounding, column_steps, round_matrix
from gingham.training.exporting.watching_inputs import InputStatistics, watch
from training.test_export import CALIBRATION, FIXED
from training.tiny_models import make_model

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("bert"), query_expansion=FIXED)


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test collection of random words, each query a part of the document that answers it."""
    folder = tmp_path_factory.mktemp("questions")
    random = np.random.default_rng(5)
    words = ["the", "tide", "rises", "twice", "day", "why", "does", "sea", "moon", "water", "cafe"]
    texts = [" ".join(random.choice(words, 9)) for _ in range(60)]
    corpus = [{"_id": f"d{i}", "text": text} for i, text in enumerate(texts)]
    queries = [{"_id": f"q{i}", "text": " ".join(t.split()[2:6])} for i, t in enumerate(texts[:40])]
    for name, lines in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "qrels").mkdir()
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(40))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder


def exported(checkpoint: Path, output: Path, **settings: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return export(checkpoint, output, CALIBRATION, threads=1, **settings)


def test_compensated_rounding_changes_products_less() -> None:
    random = np.random.default_rng(0)
    # Inputs that go together, as those of a layer do.
    rows = random.normal(size=(4000, 6)) @ random.normal(size=(6, 96))
    rows += 0.1 * random.normal(size=rows.shape)
    matrix = random.normal(size=(96, 40)).astype(np.float32)
    moments = rows.T @ rows / len(rows)
    scale = column_steps(matrix, 7, moments, Rounding())

    def error(how: Rounding, of: Any = moments) -> float:
        steps = round_matrix(matrix, scale, 7, of, how)
        assert steps.dtype == np.int8
        assert np.abs(steps).max() <= 7
        return float(((rows @ (steps * scale - matrix)) ** 2).mean())

    nearest = error(Rounding(compensated=False))
    assert error(Rounding()) < 0.2 * nearest
    # Inputs that do not go together leave nothing to make up for.
    identity = round_matrix(matrix, scale, 7, np.eye(96), Rounding())
    assert (identity == np.clip(np.rint(matrix / scale), -7, 7)).all()
    # Nor do dead inputs, whose moments are singular, or no texts at all, break it.
    assert np.isfinite(error(Rounding(), np.zeros((96, 96))))
    assert error(Rounding(), None) == nearest


def test_clipping_shrinks_the_steps_of_columns_with_an_outlier() -> None:
    random = np.random.default_rng(1)
    matrix = random.normal(size=(64, 8)).astype(np.float32)
    matrix[3, 2] = 9.0
    moments = np.eye(64)
    moments[3, 3] = 1e-4  # the outlier's input is next to nothing
    plain = column_steps(matrix, 7, moments, Rounding())
    clipped = column_steps(matrix, 7, moments, Rounding(clipping=0.4))
    assert (clipped <= plain * 1.0001).all()
    assert clipped[2] < 0.6 * plain[2]


def small_graph(activation: str, bias: bool) -> onnx.ModelProto:
    """Two products with an activation between; the second perhaps without a bias behind it."""
    random = np.random.default_rng(2)
    first, second = random.normal(size=(16, 96)), random.normal(size=(96, 16))
    constants = {"a": first, "b": second, "table": random.normal(size=(30, 16))}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["x"]),
        helper.make_node("MatMul", ["x", "a"], ["wide"]),
        helper.make_node(activation, ["wide"], ["active"]),
        helper.make_node("MatMul", ["active", "b"], ["narrow"]),
    ]
    if bias:
        constants["bias"] = random.normal(size=16)
        nodes.append(helper.make_node("Add", ["bias", "narrow"], ["y"]))
    else:
        nodes.append(helper.make_node("Identity", ["narrow"], ["y"]))
    shape = ["batch", "sequence"]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [*shape, 16])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in constants.items()],
    )
    opset = 20 if activation == "Gelu" else 17
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def run(graph: onnx.ModelProto, ids: Any) -> Any:
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"input_ids": ids})[0]


@pytest.mark.parametrize("activation", ["Gelu", "Relu", "Tanh"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("smoothed", ["normalised", "all"])
def test_a_graph_in_eight_bits_gives_nearly_the_same(
    activation: str, bias: bool, smoothed: Literal["normalised", "all"]
) -> None:
    graph = small_graph(activation, bias)
    before = graph.SerializeToString()
    ids = np.random.default_rng(3).integers(0, 30, (4, 9))
    assert set(products(graph)) == {"wide", "narrow"}
    statistics = watch(graph, products(graph), [{"input_ids": ids}], 1)
    exact = run(graph, ids)
    made = quantise(graph, Quantisation(smoothed=smoothed), statistics)
    assert graph.SerializeToString() == before, "what was given is left as it was"
    matrices = {c.name: numpy_helper.to_array(c) for c in made.graph.initializer}
    assert not {"a", "b", "table"} & set(matrices)
    assert np.abs(run(made, ids) - exact).max() < 0.03 * np.abs(exact).max()
    kept = quantise(graph, Quantisation(kept=frozenset(["narrow"])), statistics)
    assert "b" in {constant.name for constant in kept.graph.initializer}


def test_statistics_are_those_of_the_rows() -> None:
    graph = small_graph("Tanh", True)
    runs = [{"input_ids": np.array([[1, 2, 3]])}, {"input_ids": np.array([[4, 4]])}]
    found = watch(graph, products(graph), runs, 1)["wide"]
    table = numpy_helper.to_array(
        next(constant for constant in graph.graph.initializer if constant.name == "table")
    )
    rows = table[[1, 2, 3, 4, 4]]
    np.testing.assert_allclose(found.largest, np.abs(rows).max(0))
    np.testing.assert_allclose(found.moments, rows.T @ rows / 5, rtol=1e-5)
    halved = found.divided(np.full(16, 2, np.float32))
    np.testing.assert_allclose(halved.moments, found.moments / 4)
    assert isinstance(InputStatistics.joined([found, halved]), InputStatistics)


def test_the_cost_is_measured_on_judged_queries(
    checkpoint: Path, questions: Path, tmp_path: Path
) -> None:
    done = exported(checkpoint, tmp_path / "out", check=[questions], max_queries=30, allow=0.05)
    (found,) = done.quality
    assert (found.queries, found.documents, found.made_up) == (30, 60, False)
    assert 0 < found.fp32 < 1
    assert found.int8 - found.fp32 == pytest.approx(found.difference)
    assert found.interval[0] <= found.difference <= found.interval[1]


def test_eight_bits_that_cost_too_much_are_not_written(
    checkpoint: Path, questions: Path, tmp_path: Path
) -> None:
    coarse = Quantisation(levels=1, rounding=Rounding(compensated=False))
    with pytest.raises(ModelError, match=r"int8 costs 0\.\d+ nDCG@10 on .* allowed") as raised:
        exported(checkpoint, tmp_path / "out", check=[questions], quantisation=coarse)
    assert "--only fp32" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_large_graphs_keep_their_weights_beside(checkpoint: Path, tmp_path: Path) -> None:
    done = exported(checkpoint, tmp_path / "out", check=None)
    path = done.folder / "onnx" / "model.onnx"
    before = Encoder(done.folder, threads=1, precision="fp32")
    graph = onnx.load(path)
    path.unlink()
    save_graph(graph, path, largest=1000)
    assert (done.folder / "onnx" / "model.onnx_data").is_file()
    after = Encoder(done.folder, threads=1, precision="fp32")
    one, other = (encoder.encode_documents(CALIBRATION).values for encoder in (before, after))
    np.testing.assert_array_equal(one, other)


def test_calibration_texts_are_drawn_evenly(tmp_path: Path) -> None:
    texts = [f"text number {i}" for i in range(500)]
    lines = [json.dumps({"_id": str(i), "text": text}) for i, text in enumerate(texts)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    drawn = read_texts([tmp_path / "corpus.jsonl"], count=100)
    assert drawn == read_texts([tmp_path / "corpus.jsonl"], count=100)
    places = [texts.index(text) for text in drawn]
    assert places == sorted(set(places))
    assert len(places) == 100
    assert 150 < np.mean(places) < 350
    assert read_texts([tmp_path / "corpus.jsonl"], count=900) == texts
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "empty.jsonl").write_text('{"_id": "1", "text": ""}')
    with pytest.raises(EmptyInputError, match="no text to calibrate with"):
        read_texts([tmp_path / "folder"])


def test_the_command(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text(
        "\n".join(json.dumps({"_id": str(i), "text": t}) for i, t in enumerate(CALIBRATION))
    )
    runner = CliRunner()
    arguments = ["export", str(checkpoint), str(tmp_path / "out"), "--threads", "1"]
    arguments += ["--calibrate", str(tmp_path / "texts.jsonl")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = runner.invoke(app, [*arguments, "--check", str(questions), "--allow", "0.1"])
        assert done.exit_code == 0, done.output
        again = runner.invoke(app, [*arguments, "--check", str(questions)])
        shown = runner.invoke(app, [*arguments, "--force", "--json", "--only", "int8"])
    assert "BertModel, graph written" in done.stdout
    assert "off PyTorch by" in done.stdout
    assert "cosine to fp32" in done.stdout
    assert "40 queries, 60 documents" in done.stdout
    assert "onnx/model_int8.onnx" in done.stdout
    assert again.exit_code == 2
    assert "--force" in again.stderr
    record = json.loads(shown.stdout)
    assert record["folder"] == str(tmp_path / "out")
    assert record["quality"][0]["made_up"] is True
    assert "onnx/model.onnx" not in record["files"]


def test_without_its_libraries_the_extra_is_named(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gingham.training.exporting as package

    monkeypatch.delitem(vars(package), "export", raising=False)
    for name in [name for name in sys.modules if name.startswith(package.__name__ + ".")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    done = CliRunner().invoke(app, ["export", str(checkpoint), str(tmp_path / "x"), "--only=fp32"])
    assert done.exit_code == 2
    assert done.stderr == "error: exporting a model needs onnx: pip install 'gingham[train]'\n"
