"""The answers of the service."""

from __future__ import annotations

from datetime import date

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """Every answer with a status of 400 or more."""

    error: str = Field(description="what is wrong and what to do, in one line")


class Health(BaseModel):
    """Whether the process answers."""

    status: str = "ok"


class Embedded(BaseModel):
    """An embedding. It is personal data: it finds other recordings of the person."""

    embedding: list[float] = Field(description="of length 1")
    dim: int
    seconds: float = Field(description="seconds of speech")
    doubts: list[str] = Field(description="warnings about the recording")
    model: str = Field(description="hash of the model; embeddings of different models cannot be compared")


class Compared(BaseModel):
    """A comparison. Without a threshold or calibration of the model, the values that need it are null."""

    score: float = Field(description="cosine, or with a stored cohort the cosine after S-norm")
    cosine: float | None = Field(None, description="cosine of the embeddings, where both sides are recordings")
    threshold: float | None
    same: bool | None = Field(description="score >= threshold")
    log_likelihood_ratio: float | None = Field(description="natural logarithm")
    probability: float | None = Field(description="of the same speaker, at the prior")
    prior: float
    seconds: float = Field(description="seconds of speech of the test recording")
    doubts: list[str]
    model: str


class Candidate(BaseModel):
    """A person of the book, and the comparison with the recording."""

    id: str
    name: str
    score: float
    log_likelihood_ratio: float | None


class Identified(BaseModel):
    """The person who speaks, or null if no score reaches the threshold, or if the answer is ambiguous."""

    name: str | None
    id: str | None
    ambiguous: bool = Field(description="the two nearest people have almost the same likelihood ratio")
    threshold: float
    candidates: list[Candidate] = Field(description="nearest first")
    seconds: float
    doubts: list[str]
    model: str


class Person(BaseModel):
    """A person of the book."""

    id: str = Field(description="depends on the name only")
    name: str
    recordings: int
    purpose: str = Field(description="what the person agreed to")
    until: date | None = Field(description="the last day that the person is kept")


class Enrolled(Person):
    """A person after enrolment. new: how many recordings are new."""

    new: int
    doubts: list[str]
    model: str


class Speakers(BaseModel):
    """The people of the book."""

    speakers: list[Person]


class Forget(BaseModel):
    """Whom to remove: a name or an id."""

    name: str | None = Field(None, max_length=200)
    id: str | None = Field(None, max_length=64)


class Forgotten(BaseModel):
    """The number of people left in the book."""

    left: int


class Turn(BaseModel):
    """A stretch of speech of one speaker. start, end: seconds."""

    speaker: str
    start: float
    end: float


class Talker(BaseModel):
    """A speaker of a recording. seconds: of speech."""

    name: str
    seconds: float


class Diarized(BaseModel):
    """Who speaks when."""

    turns: list[Turn]
    speakers: list[Talker]
    overlap: str
    notes: list[str]
    model: str
