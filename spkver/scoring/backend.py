"""Back ends: how embeddings are transformed and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.formats.convert import read
from spkver.processes import one_thread
from spkver.scoring import cosine
from spkver.scoring.sides import Sides
from spkver.trials import read_enrolment

if TYPE_CHECKING:
    from spkver.scoring.chain import Chain
    from spkver.scoring.plda import Plda


class BackEnd:
    """A back end: cosine, or PLDA, after the transforms of a chain.

    mean: file of embeddings whose mean is subtracted before the cosine
    chain: directory of a chain of transforms, applied to all embeddings that are read
    plda: directory of a PLDA model
    device: device for matrix products, "cpu" or one of torch
    Raises InputError for a mean together with PLDA, which subtracts its own.

    Example: the log-likelihood ratios of a trial list.

        back_end = BackEnd(chain="chain", plda="plda")
        score_list("trials.txt", back_end.open("test.parquet"), "scores.txt")
    """

    def __init__(
        self,
        *,
        mean: StrPath | None = None,
        chain: StrPath | None = None,
        plda: StrPath | None = None,
        device: str = "cpu",
    ) -> None:
        if mean and plda:
            raise InputError("PLDA subtracts its own mean: give a mean or PLDA, not both")
        self.paths = {name: path for name, path in (("mean", mean), ("chain", chain), ("plda", plda)) if path}
        self.device = device
        self._chain = _read_chain(chain) if chain else None
        self._plda = _read_plda(plda) if plda else None
        self._mean = self.read(mean) if mean else None

    def read(self, path: StrPath) -> Embeddings:
        """Read embeddings in any format and transform them."""
        return self.transformed(read(path))

    def transformed(self, embeddings: Embeddings) -> Embeddings:
        """Embeddings after the transforms of the chain."""
        return self._chain(embeddings) if self._chain else embeddings

    def sides(
        self, embeddings: Embeddings, test: Embeddings | None = None, enrolment: dict[str, list[str]] | None = None
    ) -> Sides:
        """The two sides of trials, to be scored.

        test: embeddings of the test side; by default both sides are in `embeddings`
        enrolment: the utterances of each enrolment model; by default every utterance is a model
        """
        if self._plda:
            return self._plda.sides(embeddings, enrolment=enrolment, test=test, device=self.device)
        mean = cosine.mean_of(self._mean, like=embeddings) if self._mean else None
        return cosine.sides(embeddings, enrolment=enrolment, mean=mean, test=test, device=self.device)

    def open(self, embeddings: StrPath, *, test: StrPath | None = None, enrolment: StrPath | None = None) -> Sides:
        """As `sides`, from files; enrolment: lines `model utterance utterance ...` (spk2utt)."""
        with one_thread():  # scores do not depend on the number of cores
            return self.sides(
                self.read(embeddings),
                self.read(test) if test else None,
                read_enrolment(enrolment) if enrolment else None,
            )


# imported on use: plain cosine scoring starts faster without them


def _read_chain(path: StrPath) -> Chain:
    from spkver.scoring.chain import read_chain

    return read_chain(path)


def _read_plda(path: StrPath) -> Plda:
    from spkver.scoring.plda import read_plda

    return read_plda(path)
