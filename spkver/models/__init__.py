"""Networks from features (batch, frames, bins) to embeddings (batch, dim), and the layers that pool over time.

A network is `Model(config, bins)`: a trunk, a pooling and an affine layer. `spkver.models.base` has the base classes of
networks and poolings, and `spkver.models.pooling` defines the interface between trunk and pooling.
`spkver.models.variants` names the published sizes: `model: resnet34` is `model: {name: resnet, depth: 34}`.
"""

from spkver.models.variants import VARIANTS
from spkver.registry import Registry

MODELS = Registry(
    "model",
    {
        "xvector": "spkver.models.xvector:XVector",
        "ecapa_tdnn": "spkver.models.ecapa_tdnn:EcapaTdnn",
        "resnet": "spkver.models.resnet:ResNet",
        "preact_resnet": "spkver.models.preact_resnet:PreActResNet",
        "fast_resnet": "spkver.models.fast_resnet:FastResNet",
        "df_resnet": "spkver.models.df_resnet:DfResNet",
        "repvgg": "spkver.models.repvgg:RepVGG",
        "res2net": "spkver.models.res2net:Res2Net",
        "campplus": "spkver.models.campplus:CamPlusPlus",
        "eres2net": "spkver.models.eres2net:ERes2Net",
        "redimnet": "spkver.models.redimnet:ReDimNet",
        "redimnet2": "spkver.models.redimnet2:ReDimNet2",
        "tdnn_head": "spkver.models.tdnn_head:TdnnHead",
        "titanet": "spkver.models.titanet:TitaNet",
        "ssl": "spkver.models.ssl:SslNetwork",
        "projected": "spkver.models.projected:Projected",
        "pooled": "spkver.models.pooled:Pooled",
        "mean_fbank": "spkver.models.mean_fbank:MeanFbank",
    },
    presets={name: variant.fields for name, variant in VARIANTS.items()},
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
