"""A plain network as a file: ONNX, LiteRT, torch.export, safetensors, each checked against torch; int8; C; a card.

Here are functions from networks to bytes and text. `fpnas.export` has the run folders, files and clocks.
"""

from fpnas.shipping.c_array import to_c
from fpnas.shipping.calibration import Quantised
from fpnas.shipping.card import model_card
from fpnas.shipping.check import Shipped
from fpnas.shipping.formats import to_pt2, to_safetensors
from fpnas.shipping.int8 import to_int8
from fpnas.shipping.litert import to_litert, to_litert_int8
from fpnas.shipping.onnx import OPSET, read_onnx_spec, to_onnx

__all__ = [
    "OPSET",
    "Quantised",
    "Shipped",
    "model_card",
    "read_onnx_spec",
    "to_c",
    "to_int8",
    "to_litert",
    "to_litert_int8",
    "to_onnx",
    "to_pt2",
    "to_safetensors",
]
