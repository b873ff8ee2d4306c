"""An embedded corpus of synthetic voices: `python -m data_prep.synthetic OUT`.

    sentences   a small grammar: a different sentence for every utterance
    voices      who speaks: pitch, vocal tract, voice quality, accent and rate, drawn per speaker
    espeak      text to samples, by libespeak-ng (GPL-3, the extra `synthetic`) in a process of its own
    channels    how it was recorded: room, microphone, noise and telephone, drawn per session
    corpus      the plan of all that, carried out in parallel, and its data directories and trial lists

The voices are formant synthesis and differ in fewer ways than people do. The corpus shows that the whole way works and
that training helps; its error rates say nothing about real speech.
"""
