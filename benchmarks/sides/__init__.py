"""The sides of `benchmarks/peers.py`: one search space, written for fpnas, for NNI 3.0 and for nvidia-modelopt.

The space: stem conv3x3 to 16; six MBConv layers, each of kernel {3, 5} and expansion {1, 3, 6}, with its expansion
convolution (at 1 too), batch norm, ReLU, no squeeze-excite, a residual where shapes match; conv1x1 to 256, pool,
linear.

Each file runs as a process of its own, `python -m sides.nni_side ...`: fpnas in its environment, the peers in theirs.
So `clock` and `layers` import neither; `layers` is plain torch, of which both peers make their supernets.
"""
