"""What the service does, without HTTP: the one place that calls `spkver.verify`. All of it blocks."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from spkver import audio
from spkver.audio import Content
from spkver.errors import InputError
from spkver.files import file_state
from spkver.serve import answers
from spkver.serve.batching import SharedVerifier
from spkver.serve.config import Limits
from spkver.serve.problems import Refused
from spkver.verify import book as books
from spkver.verify.book import Book, Match
from spkver.verify.model import Heard
from spkver.verify.people import enrol_recordings, identify_heard
from spkver.verify.verdict import Verdict, verdict

_LOG = logging.getLogger("spkver.serve")


class Service:
    """The operations of the service, for one model. Their errors are InputError and Refused.

    root: directory of the book; with `tenants`, the directory of their books
    """

    def __init__(self, verifier: SharedVerifier, root: Path, limits: Limits, *, tenants: bool = False) -> None:
        self.verifier, self.root, self.limits, self._tenants = verifier, root.absolute(), limits, tenants
        self._books: dict[Path, tuple[object, Book, books.People]] = {}
        self._unusable: dict[Path, str] = {}  # what was logged about books

    def embed(self, recording: Content, channel: int | None = None) -> answers.Embedded:
        """The embedding of a recording."""
        heard = self._listen(recording, channel)
        return answers.Embedded(
            embedding=heard.vector.tolist(),
            dim=len(heard.vector),
            seconds=heard.seconds,
            doubts=heard.doubts,
            model=self.verifier.model_id,
        )

    def verify(
        self,
        enrolment: Sequence[Content],
        test: Content,
        threshold: float | None = None,
        prior: float = 0.5,
        channel: int | None = None,
    ) -> answers.Compared:
        """Whether a test recording has the speaker of the enrolment."""
        heard = [self._listen(one, channel) for one in [*enrolment, test]]
        return self._compared(self.verifier.judge(heard[:-1], heard[-1], threshold=threshold, prior=prior), heard[-1])

    def verify_person(
        self,
        tenant: str,
        person: str,
        test: Content,
        threshold: float | None = None,
        prior: float = 0.5,
        channel: int | None = None,
    ) -> answers.Compared:
        """Whether a test recording has the speaker who is claimed, a person of the book by name or id."""
        name = self.name_of(tenant, person)
        heard = self._listen(test, channel)
        return self._compared(self.judge_person(tenant, name, heard, threshold, prior), heard)

    def judge_person(
        self, tenant: str, name: str, heard: Heard, threshold: float | None = None, prior: float = 0.5
    ) -> Verdict:
        """The verdict on a person of the book."""
        found = verdict(self.nearest(tenant, heard, name).score, self.verifier.decision, threshold, prior)
        found.doubts.extend(heard.doubts)
        return found

    def identify(
        self,
        tenant: str,
        recording: Content,
        threshold: float | None = None,
        top: int = 1,
        channel: int | None = None,
    ) -> answers.Identified:
        """The person of the book who speaks in a recording, if any."""
        self.verifier.required_threshold(threshold)  # fail early
        heard = self._listen(recording, channel)
        found = identify_heard(self.verifier, self._book(tenant)[1], heard, threshold=threshold, top=top)
        return answers.Identified(
            name=found.name,
            id=found.name and person_id(found.name),
            ambiguous=found.ambiguous,
            threshold=found.threshold,
            candidates=[
                answers.Candidate(
                    id=person_id(name), name=name, score=score, log_likelihood_ratio=self.log_likelihood_ratio(score)
                )
                for name, score in found.candidates
            ],
            seconds=heard.seconds,
            doubts=heard.doubts,
            model=self.verifier.model_id,
        )

    def enrol(
        self,
        tenant: str,
        name: str,
        recordings: Sequence[Content],
        channel: int | None = None,
        purpose: str = "",
        until: date | None = None,
    ) -> answers.Enrolled:
        """Add recordings of a person to the book."""
        book, _ = self._book(tenant)
        name, before = books.checked(name), book.recordings()
        if name not in before and len(before) >= self.limits.people:
            raise Refused(507, f"the book is full ({self.limits.people} people): forget somebody first")
        if before.get(name, 0) + len(recordings) > self.limits.recordings:
            raise Refused(507, f"a person has at most {self.limits.recordings} recordings in the book")
        for one in recordings:
            self._check_length(one, self.limits.seconds)
        folder = self._folder(tenant)
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = enrol_recordings(self.verifier, folder, name, recordings, channel=channel, purpose=purpose, until=until)
        kept = self._open(folder).person(found.name)
        return answers.Enrolled(
            id=person_id(found.name),
            name=found.name,
            recordings=found.recordings,
            purpose=kept.purpose,
            until=kept.until,
            new=found.new,
            doubts=found.doubts,
            model=self.verifier.model_id,
        )

    def speakers(self, tenant: str) -> answers.Speakers:
        """The people of the book."""
        book, _ = self._book(tenant)
        people = [(name, number, book.person(name)) for name, number in book.recordings().items()]
        return answers.Speakers(
            speakers=[
                answers.Person(id=person_id(name), name=name, recordings=number, purpose=kept.purpose, until=kept.until)
                for name, number, kept in people
            ]
        )

    def forget(self, tenant: str, name: str | None = None, identity: str | None = None) -> answers.Forgotten:
        """Remove a person, by name or id, from the book."""
        known = self._book(tenant)[0].recordings()
        if name is None:
            name = self.name_of_id(tenant, identity or "")
        elif books.normal(name) not in known:
            raise Refused(404, "no such person in the book; GET /v1/speakers lists them")
        return answers.Forgotten(left=books.forget(self._folder(tenant), [name]).left)

    def diarize(self, tenant: str, recording: Content, speakers: int | None, named: bool) -> answers.Diarized:
        """Who speaks when in a recording; `named` by the book."""
        if named:
            self._book(tenant)
        samples, rate = audio.read(recording, channel=audio.MIX, max_seconds=self.limits.diarize_seconds)
        found = self.verifier.diarize(
            samples, rate, speakers=speakers, book=str(self._folder(tenant)) if named else None
        )
        return answers.Diarized(
            turns=[answers.Turn(speaker=turn.speaker, start=turn.start, end=turn.end) for turn in found.turns],
            speakers=[answers.Talker(name=one.name, seconds=one.seconds) for one in found.speakers],
            overlap=found.overlap,
            notes=found.notes,
            model=self.verifier.model_id,
        )

    def nearest(self, tenant: str, heard: Heard, name: str | None = None) -> Match:
        """The nearest person of the book, or the one of that name. Raises Refused (404) if there is none."""
        book, people = self._book(tenant)
        for match in people.rank(heard.vector, 1 if name is None else len(book), heard.seconds):
            if name in (None, match.name):
                return match
        raise Refused(404, "no such person in the book")

    def listen(self, samples: np.ndarray, rate: int) -> Heard:
        """A waveform of a stream."""
        return self.verifier.listen(samples, rate)

    def log_likelihood_ratio(self, score: float) -> float | None:
        """The natural-log likelihood ratio of a score, if the model has a calibration."""
        decision = self.verifier.decision
        return None if decision is None else decision.calibration.ratio(score)

    def name_of(self, tenant: str, person: str) -> str:
        """The name of a person of the book, from the name, or else the id. Raises Refused (404) for any other."""
        known = self._book(tenant)[0].recordings()
        with contextlib.suppress(InputError):
            if (name := books.checked(person)) in known:
                return name
        return self.name_of_id(tenant, person)

    def name_of_id(self, tenant: str, identity: str) -> str:
        """The name of a person of the book, from the id. Raises Refused (404) for any other."""
        for name in self._book(tenant)[0].recordings():
            if person_id(name) == identity:
                return name
        raise Refused(404, "no such person in the book; GET /v1/speakers lists them")

    def _compared(self, found: Verdict, test: Heard) -> answers.Compared:
        return answers.Compared(
            score=found.score,
            cosine=found.cosine,
            threshold=found.threshold,
            same=found.same,
            log_likelihood_ratio=found.ratio,
            probability=found.probability,
            prior=found.prior,
            seconds=test.seconds,
            doubts=found.doubts,
            model=self.verifier.model_id,
        )

    def _listen(self, recording: Content, channel: int | None) -> Heard:
        self._check_length(recording, self.limits.seconds)
        return self.verifier.listen(recording, channel=channel)

    @staticmethod
    def _check_length(recording: Content, most: float) -> None:
        """Refuse a recording that is too long by its header, before anything is decoded."""
        if (seconds := audio.seconds(recording)) > most:
            raise InputError(f"{recording}: too long ({seconds:.1f} s, maximum {most:g} s)")

    def _folder(self, tenant: str) -> Path:
        """The book of a tenant. A name is never a path."""
        return self.root / hashlib.sha256(tenant.encode()).hexdigest()[:32] if self._tenants else self.root

    def _book(self, tenant: str) -> tuple[Book, books.People]:
        """The book of a tenant and its people, read again when the file or its permissions change, and every day."""
        folder = self._folder(tenant)
        mode = folder.stat().st_mode if folder.exists() else None
        state = mode, file_state(folder / books.VOICES), books.today()
        kept = self._books.get(folder)
        if kept is None or kept[0] != state:
            book = self._open(folder)
            if len(book) and book.voices.model != self.verifier.model_id:
                raise Refused(409, "the book was made with another model: start the service with that model")
            kept = (state, book, book.people(self.verifier.cohort, self.verifier.lengths))
            self._books[folder] = kept
        return kept[1], kept[2]

    def _open(self, folder: Path) -> Book:
        """Raises Refused (503) for a book that cannot be read; the reason is in the log, for the operator only."""
        try:
            book = books.open_book(folder)
        except (InputError, OSError) as error:
            if self._unusable.get(folder) != str(error):
                self._unusable[folder] = str(error)
                _LOG.error("%s", error)
            raise Refused(503, "the book cannot be read; see the log of the service") from error
        self._unusable.pop(folder, None)
        return book


def person_id(name: str) -> str:
    """The id of a person in URLs and requests: a hash of the name."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]
