"""Elastic layers and the supernet that holds them: networks with shared weights. Knows nothing of the maths."""

from fpnas.elastic.attention import SplitAttention, SqueezeExcite
from fpnas.elastic.base import ElasticLayer, ElasticModule, ElasticStructure
from fpnas.elastic.conv import Conv2d, DepthwiseConv2d, Linear
from fpnas.elastic.dims import Derived, Dim, scaled
from fpnas.elastic.init import initialise
from fpnas.elastic.mbconv import MBConv, conv_norm, searchable_mbconv
from fpnas.elastic.norm import Activation, BatchNorm2d, batch_statistics
from fpnas.elastic.supernet import Supernet
from fpnas.elastic.switch import Repeat, Switch

__all__ = [
    "Activation",
    "BatchNorm2d",
    "Conv2d",
    "DepthwiseConv2d",
    "Derived",
    "Dim",
    "ElasticLayer",
    "ElasticModule",
    "ElasticStructure",
    "Linear",
    "MBConv",
    "Repeat",
    "SplitAttention",
    "SqueezeExcite",
    "Supernet",
    "Switch",
    "batch_statistics",
    "conv_norm",
    "initialise",
    "scaled",
    "searchable_mbconv",
]
