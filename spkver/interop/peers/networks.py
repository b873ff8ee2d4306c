"""Layouts of networks that several toolkits publish with the same names, or nearly the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from spkver.interop.peers.layout import Layout, Rule

RESNET = Layout()  # our names are those of WeSpeaker and 3D-Speaker

# WeSpeaker's, which 3D-Speaker adopted; their norms have no gains and offsets
XVECTOR = Layout(
    names=(
        (r"^frame\.(\d+)\.", lambda at: f"frame_{int(at[1]) // 3 + 1}.{'bn' if int(at[1]) % 3 else 'conv_1d'}."),
        (r"^segment\.0\.", "seg_1."),
        (r"^segment\.2\.", "seg_bn_1."),
        (r"^segment\.3\.", "seg_2."),
    ),
    ours=r"^(frame\.(2|5|8|11|14)|segment\.2)\.(weight|bias)$",
)

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

# SpeechBrain's names, which 3D-Speaker adopted
ECAPA_SPEECHBRAIN = Layout(
    names=(
        (r"\.(conv|norm)\.(\w+)$", r".\1.\1.\2"),  # each layer is wrapped in one of the same name
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


def redimnet(stages: Sequence[Sequence[float]], *, first: int, sums: Sequence[str], rules: Sequence[Rule]) -> Layout:
    """Layout of ReDimNet. stages: as in our config.

    first: index of the first convolution in the sequence of a stage
    sums: names of the weights of the sum of each stage, then of the final sum
    rules: rules for the layers outside the stages
    """
    names: list[Rule] = [*rules, (r"^sum\.weights$", sums[-1])]
    for number, (_, blocks, multiple, _) in enumerate(stages):
        here, there = rf"^stages\.{number}\.", f"backbone.stage{number}."
        names += [(rf"{here}sum\.weights$", sums[number]), (rf"{here}down\.", f"{there}{first}.")]
        names += [
            (rf"{here}blocks\.{block}\.", f"{there}{first + 1 + block}.conv_block.") for block in range(int(blocks))
        ]
        names.append((rf"{here}squeeze\.", f"{there}{first + 1 + blocks}."))
        # followed by the reshaping to one dimension, which has no tensors
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
    # the first sum has a single input and a weight of 1
    return Layout(tuple(names), constants={sums[0]: torch.ones(1, 1, 1, 1)})
