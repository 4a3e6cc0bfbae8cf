"""Text → tokens → vectors. Only here: tokenizers, onnxruntime, safetensors, the hub."""

from gingham.encoder.encoder import Encoder
from gingham.encoder.tokenization import Tokens

__all__ = ["Encoder", "Tokens"]
