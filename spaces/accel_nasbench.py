"""Accel-NASBench's space: seven blocks of inverted residuals (Ahmad et al., "Accel-NASBench: Sustainable Benchmarking for
Accelerator-Aware NAS", DATE 2024).

It is MnasNet's space with EfficientNet-B0's widths: each block chooses expansion, kernel, number of layers and squeeze-and-excitation.
Parameters of our networks equal the recorded ones. The activation is not recorded; ours is ReLU.
"""

from __future__ import annotations

from functools import lru_cache

from graphnas.architecture import INPUT, OUTPUT, Node, node
from graphnas.space import Choice, Space
from spaces.mobile import STRIDES, block_network
from spaces.mobile_network import SIZE

CHANNELS = (16, 24, 40, 80, 112, 192, 320)
EXPANSIONS = (1, 4, 6)
KERNELS = (3, 5)
LAYERS = ((1, 2, 3),) * 5 + ((1, 2, 3, 4), (1, 2, 3))
SQUEEZE = (0.0, 0.25)


@lru_cache(maxsize=1)
def space() -> Space:
    """36^6 * 48 networks, about 1.04e11; decisions in the order of the benchmark's columns."""
    choices: list[Choice] = []
    nodes: list[Node] = [node(INPUT)]
    for i, channels in enumerate(CHANNELS):
        made = {
            "expansion": Choice(f"block{i + 1}.expansion", EXPANSIONS, "expansion"),
            "kernel": Choice(f"block{i + 1}.kernel", KERNELS, "kernel"),
            "layers": Choice(f"block{i + 1}.layers", LAYERS[i], "layers" if len(LAYERS[i]) == 3 else "layers of 4"),
            "squeeze": Choice(f"block{i + 1}.squeeze", SQUEEZE, "squeeze"),
        }
        choices += made.values()
        nodes.append(node("mobile_block", (i,), **made, channels=channels, stride=STRIDES[i]))
    nodes.append(node(OUTPUT, (len(CHANNELS),)))
    return Space(
        "accel_nasbench",
        nodes,
        order=choices,
        network=block_network,
        size=SIZE,
        accepts=("image",),
        description="mobile image network of 7 blocks with 4 choices each (Accel-NASBench)",
    )
