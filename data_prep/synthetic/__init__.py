"""A corpus of synthetic voices: `python -m data_prep.synthetic OUT`.

    sentences   a small grammar; every utterance is a different sentence
    voices      pitch, vocal tract, voice quality, accent and rate, drawn per speaker
    espeak      speech synthesis by libespeak-ng (GPL-3, the extra `synthetic`) in a separate process
    channels    recording conditions: room, microphone, noise and telephone, drawn per session
    corpus      generation in parallel, data directories and trial lists

The voices are formant synthesis and vary less than real speakers. The corpus tests that the pipeline works and that
training helps; its error rates say nothing about real speech.
"""
