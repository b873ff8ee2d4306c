"""The parameters of a synthetic voice, drawn per speaker, and its espeak voice-variant file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.synthetic.espeak import Utterance

ACCENTS = ("en", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc")

# pitch class: median pitch in Hz, median vocal-tract factor on formant frequencies (1.0 for espeak's default voice)
_CLASSES = {"m": (110.0, 0.98), "f": (185.0, 1.12)}
_FORMANTS = 9  # espeak's formants 0 (below F1) to 8


@dataclass(frozen=True)
class Voice:
    """One speaker: pitch in Hz, formants in per cent of espeak's default voice, rate in words per minute."""

    pitch_class: str
    accent: str
    rate: float
    pitch: tuple[float, float]
    formants: tuple[tuple[float, float, float], ...]
    flutter: int
    roughness: int
    voicing: int
    consonants: tuple[int, int]
    breath: tuple[int, ...]
    tone: tuple[int, int, int]
    stress: tuple[int, ...]
    intonation: int

    def variant(self, name: str) -> str:
        """The text of espeak's voice-variant file (its attributes: docs/voices.md of espeak-ng)."""
        low, mid, high = self.tone
        lines = [
            "language variant",
            f"name {name}",
            f"gender {'male' if self.pitch_class == 'm' else 'female'}",
            f"pitch {self.pitch[0]:.0f} {self.pitch[1]:.0f}",
            *(f"formant {i} {f:.0f} {h:.0f} {w:.0f}" for i, (f, h, w) in enumerate(self.formants)),
            f"flutter {self.flutter}",
            f"roughness {self.roughness}",
            f"voicing {self.voicing}",
            f"consonants {self.consonants[0]} {self.consonants[1]}",
            f"breath {' '.join(map(str, self.breath))}",
            f"tone 600 {low} 1200 {mid} 2000 {high}",
            f"stressAdd {' '.join(map(str, self.stress))}",
            f"intonation {self.intonation}",
        ]
        return "\n".join(lines) + "\n"

    def say(self, text: str, pitch_shift: float, rate_factor: float, rng: np.random.Generator) -> Utterance:
        """One utterance, with the session's shift of pitch and rate and a small random variation."""
        return Utterance(
            text,
            rate=round(self.rate * rate_factor * rng.uniform(0.96, 1.04)),
            pitch=round(np.clip(50 + pitch_shift + rng.normal(0, 2), 0, 99)),
            pitch_range=round(np.clip(rng.normal(50, 6), 0, 99)),
        )


def draw_voice(rng: np.random.Generator, pitch_class: str) -> Voice:
    """A voice of a pitch class, `m` or `f`; pitch and vocal tract overlap within classes, slightly across them."""
    median, tract = _CLASSES[pitch_class]
    base = median * np.exp(np.clip(rng.normal(0, 0.16), -0.35, 0.35))
    factor = tract * (1 + np.clip(rng.normal(0, 0.075), -0.15, 0.15))

    def spread(centre: float, relative: float) -> float:
        return float(centre * (1 + np.clip(rng.normal(0, relative), -2.5 * relative, 2.5 * relative)))

    formants = tuple((spread(100 * factor, 0.04), spread(100, 0.15), spread(110, 0.15)) for _ in range(_FORMANTS))
    breathy = rng.integers(0, 8) if rng.random() < 0.4 else 0
    return Voice(
        pitch_class=pitch_class,
        accent=str(rng.choice(ACCENTS)),
        rate=spread(170, 0.08),
        pitch=(float(base), float(base * rng.uniform(1.2, 1.7))),
        formants=formants,
        flutter=int(rng.integers(0, 9)),
        roughness=int(rng.integers(0, 5)),
        voicing=int(rng.integers(75, 126)),
        consonants=(int(rng.integers(60, 136)), int(rng.integers(60, 136))),
        breath=(0, *(int(breathy) for _ in range(7))),
        tone=(int(rng.integers(140, 201)), int(rng.integers(110, 161)), int(rng.integers(80, 141))),
        stress=tuple(int(v) for v in rng.integers(-15, 16, size=8)),
        intonation=int(rng.integers(1, 4)),
    )
