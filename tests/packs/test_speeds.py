"""Names of speed-perturbed copies."""

from hypothesis import given
from hypothesis import strategies as st

from spkver.packs.speeds import at_speed, of_speed


@given(st.text(min_size=1).filter(lambda name: of_speed(name)[1] == 1.0), st.sampled_from([0.8, 0.9, 1.0, 1.1, 1.25]))
def test_of_speed_is_the_inverse_of_at_speed(name: str, speed: float) -> None:
    assert of_speed(at_speed(name, speed)) == (name, speed)
