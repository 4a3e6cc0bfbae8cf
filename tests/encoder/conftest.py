"""Tiny random checkpoints, made by sentence-transformers: the oracle builds what it is asked about.

All variants share one BERT of 32 dimensions and 2 layers, exported once; they differ in markers,
query augmentation, skiplist and dense layers, all of which are outside the ONNX graph.
"""

from __future__ import annotations

import shutil
import string
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gingham import Encoder

HIDDEN = 32
WORDS = (
    "the tide rises twice a day why does sea moon and of in water un believ able "
    "hello world naive cafe 1 2 10 漢 字 本 日 é ü ß"
)
PIECES = "##s ##ing ##ed ##er ##able ##1 ##0"
# The tokenizer's own marks first, as in BERT; [unused0] and [unused1] are the markers.
SPECIAL = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = [
    *SPECIAL,
    *string.punctuation.replace("~", ""),  # one word of the skiplist that is not in the vocabulary
    *WORDS.split(),
    *(letter for letter in string.ascii_lowercase if letter not in WORDS.split()),
    *("##" + letter for letter in string.ascii_lowercase),
    *PIECES.split(),
    "😀",
]

Build = Callable[..., Path]


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT with its tokenizer, `onnx/model.onnx` and `onnx/model_int8.onnx`."""
    folder = tmp_path_factory.mktemp("backbone")
    # torch and transformers warn of their own future when they are imported and when they export.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        from onnxruntime.quantization import QuantType, quantize_dynamic
        from transformers import BertConfig, BertModel

        torch.manual_seed(7)
        config = BertConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=HIDDEN,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=128,
            initializer_range=0.5,  # the default, 0.02, makes all tokens alike
        )
        model = BertModel(config).eval()
        model.save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        (folder / "onnx").mkdir()
        names = ["input_ids", "attention_mask", "token_type_ids"]
        ids = torch.ones(2, 5, dtype=torch.int64)
        torch.onnx.export(
            _hidden_states(model),
            (ids, ids, torch.zeros_like(ids)),
            str(folder / "onnx" / "model.onnx"),
            input_names=names,
            output_names=["last_hidden_state"],
            dynamic_axes={n: {0: "batch", 1: "seq"} for n in [*names, "last_hidden_state"]},
            opset_version=17,
            dynamo=False,
        )
        quantize_dynamic(
            folder / "onnx" / "model.onnx",
            folder / "onnx" / "model_int8.onnx",
            weight_type=QuantType.QInt8,
        )
    return folder


@pytest.fixture(scope="session")
def build(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Saves a variant: build(query_expansion=…, skiplist=…, dense=[…], prompts=…, …)."""

    def make(
        *,
        query_expansion: dict[str, Any] | None = None,
        query_length: int | None = None,
        document_length: int | None = 24,
        skiplist: tuple[str, ...] = tuple(string.punctuation),
        skiplist_tasks: tuple[str, ...] = ("document",),
        keep_only: list[int] | None = None,
        dense: tuple[dict[str, Any], ...] = ({"out_features": 16, "bias": False},),
        normalise: bool = True,
        prompts: dict[str, str] | None = None,
    ) -> Path:
        folder = tmp_path_factory.mktemp("checkpoint")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch
            from sentence_transformers import MultiVectorEncoder
            from sentence_transformers.base.modules import Normalize, Transformer
            from sentence_transformers.base.modules.dense import Dense
            from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

            torch.manual_seed(11)
            modules: list[Any] = [
                Transformer(
                    str(backbone),
                    query_length=query_length,
                    document_length=document_length,
                    query_expansion=query_expansion,
                )
            ]
            size = HIDDEN
            for settings in dense:
                layer = {"activation_function": torch.nn.Identity(), **settings}
                modules.append(
                    Dense(in_features=size, module_input_name="token_embeddings", **layer)
                )
                size = layer["out_features"]
            modules.append(
                MultiVectorMask(
                    skiplist_words=list(skiplist),
                    skiplist_tasks=list(skiplist_tasks),
                    keep_only_token_ids=keep_only,
                )
            )
            if normalise:
                modules.append(Normalize(module_input_name="token_embeddings"))
            marked = {"query": "[unused0] ", "document": "[unused1] "}
            model = MultiVectorEncoder(
                modules=modules, prompts=marked if prompts is None else prompts, device="cpu"
            )
            model.save_pretrained(str(folder), create_model_card=False)
        shutil.copytree(backbone / "onnx", folder / "onnx")
        return folder

    return make


@pytest.fixture(scope="session")
def colbert(build: Build) -> Path:
    """The classic: queries filled with [MASK] to 12 tokens, unattended; no punctuation."""
    return build(query_expansion={"strategy": "fixed", "attend": False, "length": 12})


@pytest.fixture(scope="session")
def encoder(colbert: Path) -> Encoder:
    """`colbert`, loaded in fp32."""
    return Encoder(colbert, threads=2)


@pytest.fixture
def damaged(colbert: Path, tmp_path: Path) -> Path:
    """A copy of `colbert` to be spoilt."""
    folder = tmp_path / "damaged"
    shutil.copytree(colbert, folder)
    return folder


def make_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import AddedToken, PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    markers = [AddedToken(f"[unused{i}]", normalized=False, special=True) for i in (0, 1)]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=128,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    fast.add_special_tokens({"additional_special_tokens": markers})
    return fast


def _hidden_states(model: Any) -> Any:
    import torch

    class HiddenStates(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            return self.model(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state

    return HiddenStates()
