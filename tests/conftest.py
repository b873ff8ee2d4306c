"""Settings of all tests."""

from hypothesis import settings

# no time limit for an example: the machine may be busy; the same examples every time
settings.register_profile("spkver", deadline=None, derandomize=True)
settings.load_profile("spkver")
