"""Networks from features (batch, frames, bins) to embeddings (batch, dim), and the layers that pool over time.

A network is `Model(config, bins)` with the attributes `dim` (of the embedding) and `min_frames` (the shortest input).
"""

from spkver.registry import Registry

MODELS = Registry(
    "model",
    {
        "xvector": "spkver.models.xvector:XVector",
        "resnet": "spkver.models.resnet:ResNet",
        "mean_fbank": "spkver.models.mean_fbank:MeanFbank",
    },
)

POOLINGS = Registry(
    "pooling",
    {
        "mean": "spkver.models.pooling:Mean",
        "statistics": "spkver.models.pooling:Statistics",
        "attentive_statistics": "spkver.models.pooling:AttentiveStatistics",
        "self_attentive": "spkver.models.pooling:SelfAttentive",
        "multi_head": "spkver.models.pooling:MultiHead",
        "multi_query_multi_head": "spkver.models.pooling:MultiQueryMultiHead",
        "xi_vector": "spkver.models.pooling:XiVector",
    },
)
