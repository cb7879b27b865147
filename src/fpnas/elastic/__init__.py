"""Elastic layers and the supernet that holds them: networks with shared weights. Knows nothing of the maths."""

from fpnas.elastic.attention import SplitAttention, SqueezeExcite
from fpnas.elastic.base import ElasticLayer, ElasticModule, ElasticStructure
from fpnas.elastic.conv import Conv1d, Conv2d, DepthwiseConv2d, GroupedConv2d, Linear
from fpnas.elastic.convert import make_elastic
from fpnas.elastic.dims import Derived, Dim, joined, scaled
from fpnas.elastic.follow import Importance
from fpnas.elastic.init import initialise
from fpnas.elastic.mbconv import MBConv, conv_norm, searchable_mbconv
from fpnas.elastic.norm import Activation, BatchNorm1d, BatchNorm2d, LayerNorm, batch_statistics
from fpnas.elastic.supernet import Stage, Staged, Supernet
from fpnas.elastic.switch import Repeat, Switch
from fpnas.elastic.tokens import DotProductAttention, Embedding, MultiHeadAttention
from fpnas.elastic.whole import Whole

__all__ = [
    "Activation",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "DepthwiseConv2d",
    "Derived",
    "Dim",
    "DotProductAttention",
    "ElasticLayer",
    "ElasticModule",
    "ElasticStructure",
    "Embedding",
    "GroupedConv2d",
    "Importance",
    "LayerNorm",
    "Linear",
    "MBConv",
    "MultiHeadAttention",
    "Repeat",
    "SplitAttention",
    "SqueezeExcite",
    "Stage",
    "Staged",
    "Supernet",
    "Switch",
    "Whole",
    "batch_statistics",
    "conv_norm",
    "initialise",
    "joined",
    "make_elastic",
    "scaled",
    "searchable_mbconv",
]
