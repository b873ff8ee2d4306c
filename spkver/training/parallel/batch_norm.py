"""Batch norm with the statistics of the global batch, over all processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def synchronise(module: nn.Module, device: torch.device) -> nn.Module:
    """Replace every batch norm by one over the global batch: PyTorch's on a GPU, `_GlobalBatchNorm` on a CPU.

    Parameters and buffers are kept, with their names. All processes must have the same number of samples.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    if isinstance(module, _PLAIN):
        return _GlobalBatchNorm.of(module)
    for name, child in module.named_children():
        setattr(module, name, synchronise(child, device))
    return module


class _GlobalBatchNorm(_BatchNorm):
    """Batch norm of (batch, channels, ...) on a CPU, which PyTorch's SyncBatchNorm does not support."""

    @classmethod
    def of(cls, norm: _BatchNorm) -> _GlobalBatchNorm:
        own = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        for name, parameter in norm.named_parameters(recurse=False):
            setattr(own, name, parameter)
        for name, buffer in norm.named_buffers(recurse=False):
            setattr(own, name, buffer)
        return own.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return self._normalise(input.float()).to(input.dtype)

    def _normalise(self, x: Tensor) -> Tensor:
        dims = [dim for dim in range(x.ndim) if dim != 1]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        count = x.numel() // x.shape[1] * distributed.get_world_size()
        mean = _Sum.apply(x.sum(dims)) / count
        centred = x - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(dims)) / count
        if self.running_mean is not None and self.running_var is not None and self.momentum is not None:
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / max(count - 1, 1), self.momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            return centred * (scale * self.weight).view(shape) + self.bias.view(shape)
        return centred * scale.view(shape)


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient, because the losses of all processes are summed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        distributed.all_reduce(x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        distributed.all_reduce(gradient)
        return gradient
