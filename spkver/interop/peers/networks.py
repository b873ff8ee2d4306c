"""Layouts that several toolkits share, or nearly: the same network published in more than one place."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from spkver.interop.peers.layout import Layout, Rule

RESNET = Layout()  # ours is named as WeSpeaker and 3D-Speaker name it

CAMPPLUS = Layout(
    names=(
        (r"^tdnn\.", "xvector.tdnn.linear."),
        (r"^tdnn_norm\.", "xvector.tdnn.nonlinear.batchnorm."),
        (r"^blocks\.(\d+)\.(\d+)\.", lambda at: f"xvector.block{int(at[1]) + 1}.tdnnd{int(at[2]) + 1}."),
        (r"\.norm(\d)\.", r".nonlinear\1.batchnorm."),
        (r"^transits\.(\d+)\.", lambda at: f"xvector.transit{int(at[1]) + 1}."),
        (r"^(xvector\.transit\d)\.norm\.", r"\1.nonlinear.batchnorm."),
        (r"^out_norm\.", "xvector.out_nonlinear.batchnorm."),
        (r"^dense\.", "xvector.dense.linear."),
        (r"^dense_norm\.", "xvector.dense.nonlinear.batchnorm."),
    ),
    longer=r"^dense\.weight$",
)

ERES2NET = Layout(
    names=(
        (r"^downsample(\d)\.", r"layer\1_downsample."),
        (r"^fuse(\d)\.", lambda at: f"fuse_mode{'1234'[: int(at[1])]}."),
    )
)
ERES2NETV2 = Layout(names=((r"^downsample(\d)\.", r"layer\1_ds."), (r"^fuse4\.", "fuse34.")))

# SpeechBrain's, and 3D-Speaker's after it
ECAPA_SPEECHBRAIN = Layout(
    names=(
        (r"\.(conv|norm)\.(\w+)$", r".\1.\1.\2"),  # a layer within a layer of the same name
        (r"^blocks\.(\d)\.", lambda at: f"blocks.{int(at[1]) + 1}."),
        (r"^first\.", "blocks.0."),
        (r"\.res2\.", ".res2net_block."),
        (r"\.se\.linear(\d)\.", r".se_block.conv\1.conv."),
        (r"^aggregate\.", "mfa.conv.conv."),
        (r"^aggregate_norm\.", "mfa.norm.norm."),
        (r"^pooling\.attention\.0\.", "asp.tdnn.conv.conv."),
        (r"^pooling\.attention\.2\.", "asp.tdnn.norm.norm."),
        (r"^pooling\.attention\.4\.", "asp.conv.conv."),
        (r"^pooling_norm\.", "asp_bn.norm."),
        (r"^linear\.", "fc.conv."),
    ),
    longer=r"(^linear|\.se\.linear\d)\.weight$",
)


def redimnet(stages: Sequence[Sequence[int]], *, first: int, sums: Sequence[str], rules: Sequence[Rule]) -> Layout:
    """ReDimNet's: stages as our config has them; first: the place of a stage's first convolution in its sequence.

    sums: the names of the weights of each stage's sum, and of the last one. rules: for what stands around the stages.
    """
    names: list[Rule] = [*rules, (r"^sum\.weights$", sums[-1])]
    for number, (_, blocks, multiple, _) in enumerate(stages):
        here, there = rf"^stages\.{number}\.", f"backbone.stage{number}."
        names += [(rf"{here}sum\.weights$", sums[number]), (rf"{here}down\.", f"{there}{first}.")]
        names += [(rf"{here}blocks\.{block}\.", f"{there}{first + 1 + block}.conv_block.") for block in range(blocks)]
        names.append((rf"{here}squeeze\.", f"{there}{first + 1 + blocks}."))
        # after it the reshaping to a signal, which has no tensors
        time = first + 2 + blocks + (multiple != 1)
        names += [
            (rf"{here}time\.{part}\.", f"{there}{time}.{name}.")
            for part, name in (("reduce", "red_dim_conv"), ("expand", "exp_dim_conv"), ("context", "tcm"))
        ]
    names += [
        (r"\.dwconv\.", ".dwconvs.0."),
        (r"\.pwconv\.", ".pwconv1."),
        (r"\.feed_forward\.0\.", ".feed_forward.intermediate_dense."),
        (r"\.feed_forward\.2\.", ".feed_forward.output_dense."),
        (r"\.excite\.", ".exitation."),
        (r"^stem\.", "backbone.stem."),
    ]
    # the sum of a single signal has a weight too
    return Layout(tuple(names), constants={sums[0]: torch.ones(1, 1, 1, 1)})
