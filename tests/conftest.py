"""Settings of all tests."""

import pytest
from hypothesis import settings

# no time limit for an example: the machine may be busy; the same examples every time
settings.register_profile("spkver", deadline=None, derandomize=True)
settings.load_profile("spkver")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """The CPU, and a GPU where there is one."""
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return request.param


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A model directory: a small x-vector network, not trained."""
    import torch

    from spkver.config import validate
    from spkver.encoder import Encoder, EncoderConfig

    torch.manual_seed(0)
    network = {"name": "xvector", "channels": 8, "pooled_channels": 12, "dim": 16}
    folder = tmp_path_factory.mktemp("tiny") / "model"
    Encoder(validate(EncoderConfig, {"model": network})).save(folder)
    return folder
