"""What the manual models are made of."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional


def convolution(inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias ("same" padding at stride 1), batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def transposed(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Transposed convolution that doubles height and width, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.ConvTranspose2d(
            inputs, outputs, kernel, 2, (kernel - 1) // 2, output_padding=1 if kernel % 2 else 0, bias=False
        ),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def on_multiple(x: Tensor, multiple: int, network: Callable[[Tensor], Tensor]) -> Tensor:
    """``network`` on maps padded at the right and the top to a multiple; what it says of the padding is cut off."""
    height, width = x.shape[-2:]
    padded = functional.pad(x, (0, -width % multiple, 0, -height % multiple))
    return network(padded)[..., :height, :width]
