from __future__ import annotations

import pytest
import torch
from torch import nn

from spkver import compat
from spkver.config import validate
from spkver.encoder import EncoderConfig
from spkver.errors import InputError
from spkver.models import MODELS, POOLINGS

# all registered poolings with their defaults, but smaller, and some with other settings
CONFIGS = {name: {} for name in POOLINGS} | {
    "statistics, unbiased": {"unbiased": True},
    "attentive_statistics": {"hidden": 4},
    "attentive_statistics, context": {"hidden": 4, "context": True, "unbiased": True},
    "attentive_statistics, norm": {"hidden": 4, "context": True, "activation": "relu_norm_tanh"},
    "attentive_statistics, SimAM-ResNet's": {"hidden": 4, "activation": "relu_norm"},
    "self_attentive": {"hidden": 4},
    "self_attentive, three heads": {"hidden": 4, "heads": 3},
    "multi_head": {"hidden": 4},
    "multi_head, per channel": {"hidden": 4, "heads": 3, "per_channel": True},
    "multi_query_multi_head": {"hidden": 4, "heads": 2, "queries": 3},
    "multi_query_multi_head, per head": {"hidden": 4, "heads": 2, "per_channel": False},
    "xi_vector": {"hidden": 4},
    "xi_vector, deviation": {"hidden": 4, "deviation": True},
}
CHANNELS = 6


def build(name, channels=CHANNELS, **keys):
    name, keys = name.split(",")[0], {**CONFIGS.get(name, {}), **keys}
    torch.manual_seed(0)
    return POOLINGS.build(validate(POOLINGS.get(name).Config, keys), channels)


def set_random_norms(module):
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.uniform_(norm.bias)
    return module.eval()


@pytest.mark.parametrize("name", CONFIGS)
def test_pooling_size_and_independence_of_the_batch(name):
    pooling = set_random_norms(build(name))
    x = torch.randn(3, CHANNELS, 7)
    out = pooling(x)
    assert out.shape == (3, pooling.size) and out.dtype == torch.float32
    torch.testing.assert_close(pooling(x.flip(-1)), out)  # the order of frames does not matter
    torch.testing.assert_close(torch.cat([pooling(row[None]) for row in x]), out)


@pytest.mark.parametrize("name", CONFIGS)
def test_gradient_reaches_every_parameter(name):
    pooling = build(name)
    pooling(torch.randn(3, CHANNELS, 7, requires_grad=True)).square().sum().backward()
    for key, parameter in pooling.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        # a bias before a softmax over time has no effect
        if key not in ("attention.2.bias", "attention.3.bias", "attention.4.bias"):
            assert parameter.grad.any(), key


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("frames", [1, 9])
@pytest.mark.parametrize("value", [0.0, 1.0, -300.0])
def test_constant_input_is_finite_in_value_and_gradient(name, frames, value):
    pooling = build(name)
    x = torch.full((2, CHANNELS, frames), value, requires_grad=True)
    out = pooling(x)
    out.sum().backward()
    assert out.isfinite().all() and x.grad.isfinite().all()


@pytest.mark.parametrize("name", CONFIGS)
def test_pooling_is_float32_under_autocast(name):
    pooling = set_random_norms(build(name))
    x = torch.randn(2, CHANNELS, 50) + 30
    with torch.autocast("cpu", torch.bfloat16):
        out = pooling(x.bfloat16())
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, pooling(x.bfloat16().float()), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("name", CONFIGS)
def test_equal_weights_give_plain_statistics(name):
    pooling = build(name).eval()
    if not hasattr(pooling, "attention"):
        pytest.skip("has no attention")
    nn.init.zeros_(pooling.attention[-1].weight)
    x = torch.randn(3, CHANNELS, 7)
    queries = getattr(pooling, "queries", 1)
    parts = pooling(x).reshape(3, -1, CHANNELS)
    torch.testing.assert_close(parts[:, 0], x.mean(-1))
    if "self" not in name:
        torch.testing.assert_close(parts[:, 1], x.std(-1, correction=0))
        torch.testing.assert_close(parts[:, -2:], parts[:, :2])
        assert parts.shape[1] == 2 * queries


def test_statistics_equal_mean_and_deviation():
    x = torch.randn(3, CHANNELS, 7)
    torch.testing.assert_close(build("mean")(x), x.mean(-1))
    torch.testing.assert_close(build("statistics")(x), torch.cat([x.mean(-1), x.std(-1, correction=0)], -1))
    unbiased = build("statistics, unbiased")
    torch.testing.assert_close(unbiased(x), torch.cat([x.mean(-1), x.std(-1, correction=1)], -1))
    torch.testing.assert_close(unbiased(x[..., :1])[:, CHANNELS:], torch.full((3, CHANNELS), 1e-7**0.5))


def test_attention_uses_the_context():
    """Equal to the formula in float64, on frames with mean and deviation appended."""
    pooling = build("attentive_statistics, context").double()
    x = torch.randn(2, CHANNELS, 7).double()
    mean, deviation = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
    weights = pooling.attention(torch.cat([x, mean.expand_as(x), deviation.expand_as(x)], 1)).softmax(-1)
    expected = (weights * x).sum(-1)
    second = ((weights * x * x).sum(-1) - expected**2).sqrt()
    pooling.float()
    torch.testing.assert_close(pooling(x.float()), torch.cat([expected, second], -1).float(), rtol=1e-4, atol=1e-5)


def test_self_attention_equals_its_formula():
    pooling = build("self_attentive, three heads")
    h = torch.randn(5, CHANNELS)  # one utterance, frames first as in the paper
    first, second = pooling.attention[0], pooling.attention[2]
    a = (torch.tanh(h @ first.weight[..., 0].T + first.bias) @ second.weight[..., 0].T).softmax(0)
    torch.testing.assert_close(pooling(h.T[None])[0], (a.T @ h).flatten())


@pytest.mark.parametrize("per_channel", [False, True])
def test_each_head_uses_its_own_channels(per_channel):
    """Equal to a loop over heads and queries with attentive pooling on the channels of each head."""
    heads, queries, hidden = 3, 2, 4
    pooling = build("multi_query_multi_head", heads=heads, queries=queries, per_channel=per_channel)
    x = torch.randn(2, CHANNELS, 7)
    first, _, second = pooling.attention
    width = second.out_channels // (heads * queries)
    parts = {}
    for head, chunk in enumerate(x.chunk(heads, 1)):
        for query in range(queries):
            at = head * queries + query
            rows, outs = slice(at * hidden, (at + 1) * hidden), slice(at * width, (at + 1) * width)
            scores = torch.tanh(torch.einsum("oc,bct->bot", first.weight[rows, :, 0], chunk) + first.bias[rows, None])
            scores = torch.einsum("oc,bct->bot", second.weight[outs, :, 0], scores) + second.bias[outs, None]
            weights = scores.softmax(-1).expand(-1, CHANNELS // heads, -1)
            mean = (weights * chunk).sum(-1)
            parts["mean", query, head] = mean
            parts["deviation", query, head] = (weights * (chunk - mean[..., None]) ** 2).sum(-1).sqrt()
    order = [(kind, q, h) for q in range(queries) for kind in ("mean", "deviation") for h in range(heads)]
    torch.testing.assert_close(pooling(x), torch.cat([parts[key] for key in order], -1))


def test_xi_vector_equals_the_gaussian_posterior():
    """The mean of p(φ | z₁ … z_T) ∝ N(φ; μ, 1/L) Π N(z_t; φ, 1/L_t), from the precisions, in float64."""
    pooling = set_random_norms(build("xi_vector"))
    nn.init.uniform_(pooling.prior_mean)
    nn.init.uniform_(pooling.prior_logprec)
    z = torch.randn(2, CHANNELS, 7)
    precision = nn.functional.softplus(pooling.precision(z).double()) ** 2
    prior = pooling.prior_logprec.double().exp()
    expected = ((precision * z).sum(-1) + prior * pooling.prior_mean) / (precision.sum(-1) + prior)
    torch.testing.assert_close(pooling(z).double(), expected, rtol=1e-5, atol=1e-6)
    # a precise prior dominates, an imprecise one has no effect
    nn.init.constant_(pooling.prior_logprec, 60)
    torch.testing.assert_close(pooling(z), pooling.prior_mean.expand(2, -1))
    nn.init.constant_(pooling.prior_logprec, -60)
    torch.testing.assert_close(pooling(z).double(), (precision * z).sum(-1) / precision.sum(-1))


def test_xi_vector_of_frames_with_tiny_precision_is_finite():
    pooling = build("xi_vector").eval()
    nn.init.constant_(pooling.precision[3].bias, -200.0)  # softplus is 0 there in float32
    x = torch.randn(2, CHANNELS, 7, requires_grad=True)
    out = pooling(x)
    out.sum().backward()
    assert out.isfinite().all() and x.grad.isfinite().all()


@pytest.mark.parametrize("model", [{"name": "xvector", "pooled_channels": 1500}, {"name": "resnet", "depth": 18}])
def test_heads_that_do_not_divide_the_channels_are_rejected(model):
    config = validate(EncoderConfig, {"model": {**model, "pooling": {"name": "multi_head", "heads": 7}}}).model
    with pytest.raises(InputError, match=r"pooling multi_head: the network gives it \d+ channels.*heads that do: 1, 2"):
        MODELS.build(config, 80)


def test_attention_equals_speechbrain():
    try:
        compat.speechbrain()
        from speechbrain.lobes.models.ECAPA_TDNN import AttentiveStatisticsPooling
    except InputError as error:
        pytest.skip(str(error))
    for context in (True, False):
        theirs = AttentiveStatisticsPooling(CHANNELS, attention_channels=4, global_context=context)
        set_random_norms(theirs)
        ours = build("attentive_statistics, norm", context=context, floor=1e-12).eval()
        names = {"tdnn.conv.conv": "attention.0", "tdnn.norm.norm": "attention.2", "conv.conv": "attention.4"}
        state = {}
        for key, value in theirs.state_dict().items():
            stem, part = key.rsplit(".", 1)
            state[f"{names[stem]}.{part}"] = value
        ours.load_state_dict(state)
        x = torch.randn(3, CHANNELS, 20)
        torch.testing.assert_close(ours(x), theirs(x)[..., 0], rtol=1e-5, atol=1e-5)


# ---- weights of frames ----


@pytest.mark.parametrize("name", CONFIGS)
def test_weights_of_zero_and_one_select_frames(name):
    pooling = set_random_norms(build(name))
    x, weights = torch.randn(3, CHANNELS, 9), (torch.rand(3, 9) < 0.5).float()
    weights[:, 4] = 1
    weights[2] = torch.nn.functional.one_hot(torch.tensor(3), 9)  # a single frame
    expected = torch.cat([pooling(row[None, :, mask.bool()]) for row, mask in zip(x, weights)])
    torch.testing.assert_close(pooling(x, weights), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in CONFIGS if "unbiased" not in CONFIGS[name]])
def test_a_weight_of_two_counts_twice(name):
    pooling = set_random_norms(build(name))
    x = torch.randn(3, CHANNELS, 5)
    weights = torch.tensor([[1.0, 2.0, 0.0, 1.0, 3.0]]).expand(3, -1)
    repeated = x.repeat_interleave(torch.tensor([1, 2, 0, 1, 3]), dim=-1)
    torch.testing.assert_close(pooling(x, weights), pooling(repeated), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in CONFIGS if "xi" not in name])
def test_only_the_ratios_of_weights_matter(name):
    """Except with a prior, to which many frames are more than few."""
    pooling = set_random_norms(build(name))
    x, weights = torch.randn(3, CHANNELS, 7), torch.rand(3, 7) + 0.1
    torch.testing.assert_close(pooling(x, weights), pooling(x, 5 * weights), rtol=1e-4, atol=1e-5)
