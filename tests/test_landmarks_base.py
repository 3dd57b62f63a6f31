"""What all landmark backends share: which face, which box, when to look again; and the search for jumps.

The detector here sees a bright textured square, so that what is right is known without any model file.
"""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_data.errors import LandmarkError
from fer_data.faces.landmarks import BACKENDS, open_backend
from fer_data.faces.landmarks.base import BOX_SERVES, DetectorBackend, reduction
from fer_data.prepare.run import find_jumps
from fer_data.records import UNUSABLE, Landmarks

SHAPE = (180, 240)
TEXTURE = cv2.resize(np.random.default_rng(5).integers(120, 256, (5, 5)).astype(np.uint8), (40, 40), interpolation=cv2.INTER_LINEAR)


class SquareBackend(DetectorBackend):
    """Sees squares brighter than 100; its points lie on a grid round the brightest square's centre, whatever the box."""

    name, version, weights_sha256 = "squares", "1", ""

    def __init__(self, smallest_px: int = 1):
        self.settings = {"smallest_px": smallest_px}
        self.smallest_px = smallest_px
        self.seen = []               # the shape of each picture that went through the detector
        self.batches = []            # the length of each batch that went through the predictor

    def detect(self, picture):
        self.seen.append(picture.shape)
        count, _, boxes, _ = cv2.connectedComponentsWithStats((picture > 100).astype(np.uint8))
        return [(x, y, x + w, y + h) for x, y, w, h, _ in boxes[1:count] if w >= self.smallest_px]

    def predict_all(self, pictures, box):
        self.batches.append(len(pictures))
        grid = np.stack(np.meshgrid(np.linspace(-16, 16, 17), np.linspace(-16, 16, 4)), -1).reshape(68, 2)
        return np.stack([grid + _centre(picture) for picture in pictures])


def _centre(picture):
    y, x = np.nonzero(picture > 100)
    return np.array([x.mean(), y.mean()]) if len(x) else np.array([picture.shape[1] / 2, picture.shape[0] / 2])


def draw(*squares, shape=SHAPE):
    """Return a dark picture with a textured square of 40 px at each (left, top), or (left, top, side)."""
    picture = np.zeros(shape, np.uint8)
    for left, top, *side in squares:
        size = side[0] if side else 40
        picture[top : top + size, left : left + size] = cv2.resize(TEXTURE, (size, size), interpolation=cv2.INTER_NEAREST)
    return picture


def test_one_detection_serves_a_few_still_frames():
    """Broken on purpose once by BOX_SERVES = 1: 10 detections instead of 3."""
    backend = SquareBackend()
    found = backend.locate([draw((60, 50))] * 10)
    assert len(backend.seen) == -(-10 // BOX_SERVES) == 3
    assert backend.batches == [4, 4, 2]
    assert all(isinstance(one, Landmarks) and one.points.shape == (68, 2) and one.points.dtype == np.float64 for one in found)


def test_a_face_that_moved_away_is_detected_anew(monkeypatch):
    """Broken on purpose once by a drift limit of 9: the third frame kept the box of the first."""
    monkeypatch.setattr("fer_data.faces.landmarks.base._ALIKE", -1.0)  # what the box shows plays no part here
    backend = SquareBackend()
    found = backend.locate([draw((60, 50)), draw((61, 50)), draw((120, 90)), draw((120, 90))])
    assert [tuple(one.box[:2]) for one in found] == [(60, 50), (60, 50), (120, 90), (120, 90)]


def test_a_frame_without_a_face_does_not_inherit_one():
    """Broken on purpose once by a likeness limit of -1: the blank frame got the points of its neighbour's box."""
    blank = np.full(SHAPE, 90, np.uint8)
    backend = SquareBackend()
    found = backend.locate([draw((100, 70)), blank, draw((100, 70))])
    assert [one if isinstance(one, str) else "face" for one in found] == ["face", "no-face", "face"]


@settings(max_examples=60)
@given(st.lists(st.none() | st.tuples(st.integers(0, 200), st.integers(0, 140)), max_size=9))
def test_every_frame_has_its_own_face_or_none(places):
    """Broken on purpose once by giving up the frames that a box no longer serves: the face at (0, 2) was "no-face"."""
    pictures = [np.full(SHAPE, 30, np.uint8) if place is None else draw(place) for place in places]
    found = SquareBackend().locate(pictures)
    assert len(found) == len(places)
    for place, one in zip(places, found, strict=True):
        assert (one == "no-face") == (place is None)
        if place is not None:
            assert np.abs(one.points.mean(0) - np.array(place) - 19.5).max() < 1e-9


def test_the_largest_face_wins_and_the_others_are_counted():
    """Broken on purpose once by min() for max(): the box began at 20."""
    backend = SquareBackend()
    found = backend.locate([draw((20, 20, 20), (100, 60, 60), (200, 20, 30))])[0]
    assert found.box == (100, 60, 160, 120) and found.faces_found == 3


def test_detection_runs_on_a_reduced_picture_and_misses_are_tried_at_full_size():
    """Broken on purpose once without the second try: the small square was "no-face"."""
    shape = (490, 640)
    backend = SquareBackend(smallest_px=15)
    large, small = backend.locate([draw((200, 100, 200), shape=shape), draw((300, 200, 24), shape=shape)])
    assert backend.seen == [(245, 320), (245, 320), (490, 640)]
    assert np.abs(np.subtract(large.box, (200, 100, 400, 300))).max() <= 2
    assert small.box == (300, 200, 324, 224)


def test_all_faces_are_found_the_one_that_locate_takes_first():
    """Seen red: the large one found twice, as its boxes at two sizes differ; the search at full size only."""
    picture = draw((700, 300, 400), (40, 60, 80), (1300, 800, 60), shape=(1000, 1500))
    backend = SquareBackend(smallest_px=30)
    (taken,), quick = backend.locate([picture]), backend.locate_all(picture)
    assert [one.box for one in quick] == [taken.box] and backend.seen == [(200, 300)] * 2
    found = backend.locate_all(picture, thorough=True)
    assert backend.seen[-1] == (1000, 1500)
    assert [one.box for one in found] == [taken.box, (40, 60, 120, 140), (1300, 800, 1360, 860)]
    assert {one.faces_found for one in found} == {3} and all(one.points.shape == (68, 2) for one in found)
    assert backend.locate_all(np.zeros((1000, 1500), np.uint8), thorough=True) == []
    far = draw((100, 100, 900), (2900, 1900, 90), shape=(2600, 4000))
    backend.locate_all(far, thorough=True)
    assert backend.seen[-1] == (1300, 2000), "a large picture is searched at 4 million pixels or more"


@pytest.mark.parametrize("shape", [(490, 640), (480, 640), (245, 321), (1329, 1040), (450, 450), (48, 48)])
def test_the_reduction_is_whole_and_leaves_enough(shape):
    """Broken on purpose once by rounding up: (490, 640) was reduced to 163 rows."""
    factor = reduction(shape)
    assert factor == int(factor) >= 1
    assert min(shape) // factor >= min(200, min(shape))


def test_nothing_to_do_is_no_error():
    """Broken on purpose once by detecting before the loop: IndexError."""
    assert SquareBackend().locate([]) == []


def test_the_rules_of_the_search_are_part_of_the_identity(monkeypatch):
    """Broken on purpose once by leaving the rules out of identity(): both were equal."""
    before = SquareBackend().identity()
    monkeypatch.setattr("fer_data.faces.landmarks.base._DRIFT", 0.2)
    assert SquareBackend().identity() != before
    assert SquareBackend().identity() != SquareBackend(smallest_px=2).identity()


def test_an_unknown_backend_is_named_with_those_there_are():
    """Broken on purpose once by naming only the default: "openface" was not in the message."""
    with pytest.raises(LandmarkError, match=r"unknown backend 'haar'; choose .*dlib.*openface"):
        open_backend("haar")
    assert {"fan", "dlib", "dataset", "openface"} <= BACKENDS.keys()


def test_reasons_are_known():
    """Broken on purpose once by misspelling no-landmarks in records.py."""
    assert {"no-face", "no-landmarks", "bad-landmarks"} <= UNUSABLE.keys()


# --- jumps ------------------------------------------------------------------------------------------------------------


def rows_of(*sequences):
    """Return rows as prepare makes them: a list of (frame, motion) for each sequence."""
    return [
        {"subject": "S1", "sequence": f"{number:03d}", "frame": frame, "motion": motion}
        for number, sequence in enumerate(sequences)
        for frame, motion in sequence
    ]


def test_an_injected_jump_is_flagged_and_nothing_else():
    """Broken on purpose once by JUMP = 60: no row was flagged."""
    rng = np.random.default_rng(0)
    still = [[(8, 0.0), (9, rng.uniform(0.01, 0.02)), (10, rng.uniform(0.01, 0.02))] for _ in range(30)]
    rows = rows_of(*still)
    assert not any(find_jumps(rows))
    median = float(np.median([row["motion"] for row in rows if row["motion"]]))
    rows[40]["motion"] = 1.05 * 6 * median      # 6: what the manifest's column says
    rows[50]["motion"] = 0.95 * 6 * median
    assert [index for index, jump in enumerate(find_jumps(rows)) if jump] == [40]


def test_motion_counts_per_frame_number():
    """Broken on purpose once without the division: the step from the neutral frame to the peak was a jump."""
    plain = [[(1, 0.0), (11, 0.30), (12, 0.03), (13, 0.03)]] * 10
    assert not any(find_jumps(rows_of(*plain)))


def test_a_set_that_never_moves_has_no_jump():
    """Broken on purpose once by `speed >= limit`: all rows were flagged."""
    assert find_jumps(rows_of([(1, 0.0), (2, 0.0)], [(1, 0.0)])) == [False, False, False]
    assert find_jumps([]) == []
