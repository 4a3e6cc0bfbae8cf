"""Write a trained model as the folder that is shipped: sentence-transformers' layout plus onnx/.

    python export.py TRAINED OUTPUT --data ../shared/data [--full] [--card FILE] [--licence FILE]

The eight-bit graph is smoothed by what the matrices' inputs look like on documents of the training
sets. Checks before it returns that the float32 graph agrees with PyTorch (1e-4), and prints how far
the eight-bit graph's projected, normalised vectors turn. Without --full the folder holds only what
gingham needs, about 24 MB: the eight-bit graph, no float32 graph and no PyTorch weights.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from graph import BertShape, Quantisation, bert_to_onnx
from numpy.typing import NDArray
from pairs import SOURCES, join_title, read_question_set
from sentence_transformers import MultiVectorEncoder

from encode import length_sorted_batches, open_graph

CALIBRATION_DOCUMENTS = 24  # of each training set
# The inputs of the other two matrices are even already: smoothing them gained nothing.
SMOOTHED = ("attention_in", "feed_in")

FLOAT_GRAPH, INT8_GRAPH = "model.onnx", "model_int8.onnx"

# Settings of the last call, which tokenizers write into tokenizer_config.json.
TOKENIZER_LEFTOVERS = (
    "is_local",
    "local_files_only",
    "max_length",
    "pad_to_multiple_of",
    "pad_token_type_id",
    "stride",
    "truncation_strategy",
)

# Of different lengths, so that padding and truncation are in the check.
CHECK_DOCUMENTS = [
    "The tide rises twice a day because the Moon pulls at the sea.",
    "Gingham\nA plain-woven fabric, usually of cotton, in checks of white and one colour.",
    "Statins lower LDL cholesterol; muscle pain is the side effect most often reported. " * 12,
    "x",
]
CHECK_QUERIES = [
    "why does the sea rise twice a day?",
    "checked cloth",
    "are statins bad for muscles?",
    "",
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trained", type=Path, help="folder that train.py wrote")
    parser.add_argument("output", type=Path, help="folder to write; replaced when it exists")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--full", action="store_true", help="keep float32 graph and PyTorch weights"
    )
    parser.add_argument("--card", type=Path, help="model card to put in")
    parser.add_argument("--licence", type=Path, help="licence text to put in")
    parser.add_argument("--levels", type=int, default=Quantisation.levels, help="largest weight")
    parser.add_argument("--unsigned", action="store_true", help="store weights as uint8")
    parser.add_argument("--no-smoothing", action="store_true")
    arguments = parser.parse_args()

    if arguments.output.exists():
        shutil.rmtree(arguments.output)
    model = MultiVectorEncoder(str(arguments.trained), device="cpu")
    save_torch_layout(model, arguments.output)
    folder = arguments.output / "onnx"
    folder.mkdir()
    float_graph = bert_to_onnx(*bert_of(model))
    onnx.save(float_graph, folder / FLOAT_GRAPH)
    texts = [] if arguments.no_smoothing else calibration_texts(arguments.data)
    quantisation = Quantisation(
        levels=arguments.levels,
        unsigned=arguments.unsigned,
        channel_sizes=channel_sizes(model, float_graph, texts),
    )
    onnx.save(bert_to_onnx(*bert_of(model), quantisation), folder / INT8_GRAPH)
    check(model, arguments.output / "onnx")
    if not arguments.full:
        (arguments.output / "model.safetensors").unlink()
        (arguments.output / "onnx" / FLOAT_GRAPH).unlink()
    for source, name in ((arguments.card, "MODEL_CARD.md"), (arguments.licence, "LICENSE")):
        if source is not None:
            shutil.copyfile(source, arguments.output / name)
    for path in sorted(path for path in arguments.output.rglob("*") if path.is_file()):
        print(f"{path.stat().st_size:>11,} {path.relative_to(arguments.output)}")


def save_torch_layout(model: MultiVectorEncoder, folder: Path) -> None:
    """What MultiVectorEncoder.save writes, less what the tokenizer remembers of its last use."""
    model.tokenizer.backend_tokenizer.no_padding()
    model.tokenizer.backend_tokenizer.no_truncation()
    model.save(str(folder), create_model_card=False)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    for key in TOKENIZER_LEFTOVERS:
        config.pop(key, None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def bert_of(model: MultiVectorEncoder) -> tuple[dict[str, NDArray[np.float32]], BertShape]:
    """The backbone's weights and shape."""
    bert = model[0].auto_model
    weights = {name: value.float().numpy() for name, value in bert.state_dict().items()}
    config = bert.config
    return weights, BertShape(
        config.num_hidden_layers, config.num_attention_heads, config.layer_norm_eps
    )


def calibration_texts(data: Path) -> list[str]:
    """Documents evenly spaced through each training set."""
    texts = []
    for name, source in SOURCES.items():
        documents = list(read_question_set(data / "train" / name, source.splits).documents.values())
        step = max(1, len(documents) // CALIBRATION_DOCUMENTS)
        texts += [join_title(*document) for document in documents[::step][:CALIBRATION_DOCUMENTS]]
    return texts


def channel_sizes(
    model: MultiVectorEncoder, float_graph: onnx.ModelProto, texts: list[str]
) -> dict[str, NDArray[np.float32]]:
    """For each matrix to smooth, the largest absolute value of each input over the texts."""
    if not texts:
        return {}
    inputs = {
        node.name: node.input[0] for node in float_graph.graph.node if node.name.endswith(SMOOTHED)
    }
    watched = sorted(set(inputs.values()))
    graph = onnx.ModelProto()
    graph.CopyFrom(float_graph)
    graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in watched)
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    tokenizer = model.tokenizer.backend_tokenizer
    tokenizer.no_padding()
    tokenizer.enable_truncation(model[0].document_length)
    encoded = tokenizer.encode_batch([model.prompts["document"] + text for text in texts])
    tokenizer.no_truncation()
    sizes: dict[str, NDArray[np.float32]] = {}
    for _, ids, attention in length_sorted_batches(encoded):
        found = session.run(watched, {"input_ids": ids, "attention_mask": attention})
        for name, values in zip(watched, found, strict=True):
            largest = np.abs(values[attention > 0]).max(0)
            sizes[name] = np.maximum(sizes[name], largest) if name in sizes else largest
    return {matrix: sizes[name] for matrix, name in inputs.items()}


def check(model: MultiVectorEncoder, folder: Path) -> None:
    """Compare both graphs with PyTorch; exit when float32 is off by more than 1e-4."""
    projection = model[1].linear.weight.detach().numpy()
    float_session, int8_session = (
        open_graph(folder / name, threads=2) for name in (FLOAT_GRAPH, INT8_GRAPH)
    )
    for task, texts in (("query", CHECK_QUERIES), ("document", CHECK_DOCUMENTS)):
        features = model.preprocess(texts, prompt=model.prompts[task], task=task)
        inputs = {name: features[name].numpy() for name in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            bert = model[0].auto_model
            expected = bert(
                features["input_ids"], features["attention_mask"]
            ).last_hidden_state.numpy()
        # The [MASK] filling of a query is not attended to, but it is scored: it must agree as well.
        scored = inputs["attention_mask"].astype(bool) | (task == "query")
        hidden = float_session.run(None, inputs)[0]
        difference = float(np.abs(hidden - expected)[scored].max())
        vectors, vectors_int8, vectors_torch = (
            project(states[scored], projection)
            for states in (hidden, int8_session.run(None, inputs)[0], expected)
        )
        cosine = (vectors_int8 * vectors_torch).sum(1)
        off = float(np.abs(vectors - vectors_torch).max())
        print(
            f"{task}: float32 graph off by {difference:.1e} in states, {off:.1e} in vectors; "
            f"int8 graph cosine mean {cosine.mean():.5f}, least {cosine.min():.5f}, "
            f"largest component off {np.abs(vectors_int8 - vectors_torch).max():.4f}"
        )
        if difference > 1e-4:
            sys.exit(f"{FLOAT_GRAPH} disagrees with PyTorch by {difference:.1e}, more than 1e-4")


def project(states: NDArray[np.float32], projection: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n_tokens, hidden) to (n_tokens, dim), of length one."""
    vectors: NDArray[np.float32] = states @ projection.T
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


if __name__ == "__main__":
    main()
