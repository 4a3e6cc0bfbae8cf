"""The conductor: what it accepts, in which order and with which bytes it answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from gingham import Encoder, InputError, TokenVectors
from gingham.encoder import encoder as conductor

TEXTS = [
    "the tide rises twice a day",
    "",
    "why does the sea rise, and the moon?",
    "unbelievable " * 30,
    "漢字 😀 [MASK]",
    "moon",
] * 4


def same(one: TokenVectors, other: TokenVectors) -> bool:
    return one.values.tobytes() == other.values.tobytes() and (
        one.offsets.tolist() == other.offsets.tolist()
    )


@pytest.mark.parity
def test_what_it_says_of_itself(encoder: Encoder, colbert: Path) -> None:
    assert encoder.name == str(colbert.resolve())
    assert (encoder.dim, encoder.query_length, encoder.document_length) == (16, 12, 24)
    assert len(encoder.fingerprint) == 64
    assert repr(encoder) == f"Encoder({encoder.name!r}, dim 16)"


@pytest.mark.parity
def test_vectors_are_unit_float32_one_text_each(encoder: Encoder) -> None:
    vectors = encoder.encode_documents(TEXTS)
    assert len(vectors) == len(TEXTS)
    assert vectors.values.dtype == np.float32
    assert vectors.values.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(vectors.values, axis=1), 1, atol=1e-5)


@pytest.mark.parity
def test_one_str_is_one_text(encoder: Encoder) -> None:
    assert len(encoder.encode_queries("the tide")) == 1
    assert same(encoder.encode_documents("the tide"), encoder.encode_documents(["the tide"]))


@pytest.mark.parity
def test_no_texts_give_no_vectors(encoder: Encoder) -> None:
    for vectors in (encoder.encode_queries([]), encoder.encode_documents(iter([]))):
        assert (len(vectors), vectors.values.shape) == (0, (0, 16))
        assert vectors.offsets.tolist() == [0]
    assert list(encoder.iter_documents([])) == []


@pytest.mark.parity
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_batches_of_mixed_lengths_equal_one_by_one(colbert: Path, precision: Any) -> None:
    encoder = Encoder(colbert, precision=precision, threads=2)
    together = encoder.encode_documents(TEXTS)
    alone = TokenVectors.concatenate(encoder.encode_documents(text) for text in TEXTS)
    np.testing.assert_allclose(together.values, alone.values, atol=1e-5)
    if precision == "int8":  # each text runs alone: nothing can differ
        assert same(together, alone)
        queries = encoder.encode_queries(TEXTS)
        assert same(queries, TokenVectors.concatenate(map(encoder.encode_queries, TEXTS)))


@pytest.mark.parity
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_threads_change_no_byte(colbert: Path, precision: Any) -> None:
    results = []
    for threads in (1, 2, 3, 5):
        encoder = Encoder(colbert, precision=precision, threads=threads)
        results.append((encoder.encode_documents(TEXTS), encoder.encode_queries(TEXTS[:1])))
    for documents, queries in results[1:]:
        assert same(documents, results[0][0])
        assert same(queries, results[0][1])


@pytest.mark.parity
def test_windows_come_in_order_and_as_they_are_ready(encoder: Encoder) -> None:
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        for text in TEXTS:
            read += 1
            yield text

    windows = encoder.iter_documents(texts(), window=5)
    first = next(windows)
    assert (len(first), read) == (5, 5)
    joined = TokenVectors.concatenate([first, *windows])
    whole = encoder.encode_documents(TEXTS)
    assert joined.offsets.tolist() == whole.offsets.tolist()
    np.testing.assert_allclose(joined.values, whole.values, atol=1e-5)


@pytest.mark.parity
def test_long_texts_close_a_window(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conductor, "_WINDOW_CHARACTERS", 30)
    assert [len(window) for window in encoder.iter_documents(["a" * 20] * 5)] == [2, 2, 1]


@pytest.mark.parity
def test_several_threads_share_one_encoder(encoder: Encoder) -> None:
    expected = encoder.encode_documents(TEXTS), encoder.encode_queries(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        documents = [pool.submit(encoder.encode_documents, TEXTS) for _ in range(8)]
        queries = [pool.submit(encoder.encode_queries, TEXTS) for _ in range(8)]
        splits = [pool.submit(encoder.split, TEXTS[3]) for _ in range(8)]
        assert all(same(future.result(), expected[0]) for future in documents)
        assert all(same(future.result(), expected[1]) for future in queries)
        assert len({tuple(future.result()) for future in splits}) == 1


@pytest.mark.parity
def test_entries_that_are_no_text_are_named(encoder: Encoder) -> None:
    bad = cast("list[str]", ["a", "b", None])
    for call in (
        encoder.encode_queries,
        encoder.encode_documents,
        encoder.tokenize_queries,
        encoder.tokenize_documents,
    ):
        with pytest.raises(InputError, match="text 2 is a NoneType, not a str"):
            call(bad)
        with pytest.raises(InputError, match="texts is a int"):
            call(cast("list[str]", 3))
    with pytest.raises(InputError, match="text 2"):
        list(encoder.iter_documents(iter(bad), window=1))


@pytest.mark.parity
@pytest.mark.parametrize("value", [0, -1, True, 1.5])
def test_sizes_must_be_whole_and_positive(encoder: Encoder, value: Any) -> None:
    with pytest.raises(InputError, match="batch_size must be a whole number"):
        encoder.encode_documents(["a"], batch_size=value)
    with pytest.raises(InputError, match="batch_size must be a whole number"):
        encoder.encode_queries(["a"], batch_size=value)
    with pytest.raises(InputError, match="window must be a whole number"):
        list(encoder.iter_documents(["a"], window=value))


@pytest.mark.parity
def test_arguments_that_are_none_of_the_choices(colbert: Path) -> None:
    with pytest.raises(InputError, match='device must be "auto", "cpu" or "cuda"'):
        Encoder(colbert, device="tpu")
    with pytest.raises(InputError, match="precision must be"):
        Encoder(colbert, precision=cast("Any", "fp16"))
    with pytest.raises(InputError, match="threads must be"):
        Encoder(colbert, threads=0)


@pytest.mark.parity
def test_cuda_is_refused_where_there_is_none(colbert: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(InputError, match="install onnxruntime-gpu"):
        Encoder(colbert, device="cuda")
    assert Encoder(colbert, device="auto").dim == 16


def test_threads_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from gingham.threads import resolve_threads

    monkeypatch.setenv("GINGHAM_THREADS", "3")
    assert resolve_threads() == 3
    assert resolve_threads(2) == 2
    for bad in ("0", "-1", "two", "1.5", "²"):
        monkeypatch.setenv("GINGHAM_THREADS", bad)
        with pytest.raises(InputError, match="GINGHAM_THREADS must be"):
            resolve_threads()
    monkeypatch.delenv("GINGHAM_THREADS")
    assert resolve_threads() >= 1


def test_importing_loads_nothing_heavy() -> None:
    heavy = {"onnxruntime", "tokenizers", "huggingface_hub", "safetensors", "torch"}
    code = f"import sys, gingham.encoder; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert not done.stderr
