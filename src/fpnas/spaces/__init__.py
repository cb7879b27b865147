"""The search spaces: one function each, and their names on the command line."""

from fpnas.spaces.fbnetv2 import fbnetv2_f, fbnetv2_f_fine, fbnetv2_f_int8, fbnetv2_fpp
from fpnas.spaces.known import OWN, SPACES, by_name, import_file, is_file, is_model, is_own, model, register
from fpnas.spaces.large import fpnas_l0, fpnas_l1, fpnas_l2
from fpnas.spaces.models import Model, Smaller, load_weights
from fpnas.spaces.nasbench import nasbench_macro
from fpnas.spaces.published import IMAGE_SIZES, PUBLISHED, Published
from fpnas.spaces.tiny import tiny, tiny_int8

__all__ = [
    "IMAGE_SIZES",
    "OWN",
    "PUBLISHED",
    "SPACES",
    "Model",
    "Published",
    "Smaller",
    "by_name",
    "fbnetv2_f",
    "fbnetv2_f_fine",
    "fbnetv2_f_int8",
    "fbnetv2_fpp",
    "fpnas_l0",
    "fpnas_l1",
    "fpnas_l2",
    "import_file",
    "is_file",
    "is_model",
    "is_own",
    "load_weights",
    "model",
    "nasbench_macro",
    "register",
    "tiny",
    "tiny_int8",
]
