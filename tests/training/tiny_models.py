"""Tiny random late-interaction models of many architectures, saved by sentence-transformers."""

from __future__ import annotations

import string
import warnings
from pathlib import Path
from typing import Any

from encoder.conftest import VOCABULARY, make_tokenizer

HIDDEN = 32
# transformers' configuration class and model class, and what the configuration is given.
_SAME = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "Bert": ("Bert", {**_SAME, "type_vocab_size": 2}),
    "Roberta": ("Roberta", {**_SAME, "max_position_embeddings": 130}),
    "XLMRoberta": ("XLMRoberta", {**_SAME, "max_position_embeddings": 130}),
    "DistilBert": (
        "DistilBert",
        {
            "dim": HIDDEN,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 64,
            "max_position_embeddings": 128,
        },
    ),
    "ModernBert": (
        "ModernBert",
        {
            **_SAME,
            "num_hidden_layers": 4,
            "global_attn_every_n_layers": 3,
            "local_attention": 64,
            "reference_compile": False,
        },
    ),
    "Electra": ("Electra", {**_SAME, "embedding_size": 16}),
    "MPNet": ("MPNet", {**_SAME, "max_position_embeddings": 130}),
    "Bert, another activation": ("Bert", {**_SAME, "hidden_act": "relu"}),
    "Albert": ("Albert", {**_SAME, "embedding_size": 16}),
    "DebertaV2": (
        "DebertaV2",
        {
            **_SAME,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 8,
        },
    ),
}


def make_backbone(folder: Path, name: str) -> Any:
    """Save a random transformer with its tokenizer."""
    kind, settings = ARCHITECTURES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import transformers

        torch.manual_seed(7)
        padding = VOCABULARY.index("[PAD]")
        config = getattr(transformers, f"{kind}Config")(
            vocab_size=len(VOCABULARY),
            pad_token_id=padding,
            initializer_range=0.5,  # the default, 0.02, makes all tokens alike
            **settings,
        )
        model = getattr(transformers, f"{kind}Model")(config).eval()
        model.save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
    return model


def make_model(
    folder: Path,
    name: str = "Bert",
    *,
    dim: int = 24,
    query_expansion: dict[str, Any] | None = None,
    query_length: int | None = None,
    skiplist: tuple[str, ...] = tuple(string.punctuation),
    similarity: str = "maxsim",
    normalise: bool = True,
) -> Path:
    """Save a late-interaction model with a random projection."""
    backbone = folder / "backbone"
    make_backbone(backbone, name)
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
                document_length=100,
                query_expansion=query_expansion,
            ),
            Dense(
                in_features=HIDDEN,
                out_features=dim,
                bias=False,
                activation_function=torch.nn.Identity(),
                module_input_name="token_embeddings",
            ),
            MultiVectorMask(skiplist_words=list(skiplist)),
        ]
        if normalise:
            modules.append(Normalize(module_input_name="token_embeddings"))
        model = MultiVectorEncoder(
            modules=modules,
            prompts={"query": "[unused0] ", "document": "[unused1] "},
            similarity_fn_name=similarity,
            device="cpu",
        )
        model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"
