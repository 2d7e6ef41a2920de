"""Captions follow fixed templates and depend only on the events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foleygram.datasets.captions import caption
from foleygram.datasets.clip import Event


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([("wood", "hit")], "A person hits wood with a wooden stick."),
        ([("plastic-bag", "scratch")], "A person scratches plastic-bag with a wooden stick."),
        ([("wood", "scratch"), ("wood", "hit")], "A person hits and scratches wood with a wooden stick."),
        ([("metal", "hit"), ("wood", "hit"), ("metal", "hit")], "A person hits metal and wood with a wooden stick."),
        (
            [("tile", "hit"), (None, None), ("rock", "hit"), ("dirt", "hit")],
            "A person hits tile, rock and dirt with a wooden stick.",
        ),
        ([("wood", None)], "A person hits wood with a wooden stick."),
        ([(None, None)], "A person uses a wooden stick."),
        ([], "A person uses a wooden stick."),
    ],
)
def test_caption(labels, sentence):
    assert caption([Event(float(i), *pair) for i, pair in enumerate(labels)]) == sentence


@given(
    st.lists(st.sampled_from(["wood", "metal", "rock"]), min_size=1), st.lists(st.none() | st.just("hit"), min_size=1)
)
def test_repetition_and_unlabelled_events_change_nothing(materials, labels):
    events = [Event(float(i), material, "hit") for i, material in enumerate(materials)]
    noise = [Event(99.0, None, label) for label in labels]
    assert caption(events) == caption(events + noise + events)
