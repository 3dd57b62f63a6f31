"""Duplicates across the sides of a split: bytes and perceptual hash. tests/mutate.py breaks it and expects red."""

import shutil

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_data.audit import near_duplicates
from fer_data.audit.check_split import check_split
from fer_data.audit.near_duplicates import THRESHOLD, PictureHash, find_duplicates, hash_picture
from fer_data.audit.split import Item, Split, SplitFold
from fer_data.errors import SplitError


def picture(seed, size=(96, 96)):
    """A grey picture with structure at many scales, (H, W) uint8."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.normal(0, 1 / n, (n, n)), size, interpolation=cv2.INTER_CUBIC) * n for n in (3, 6, 12, 24)]
    noise = sum(layer / (place + 1) for place, layer in enumerate(layers))
    return cv2.normalize(noise, None, 10, 240, cv2.NORM_MINMAX).astype(np.uint8)


def bits_apart(a, b):
    return int(np.bitwise_count(a ^ b).sum())


def jpeg(grey, quality):
    return cv2.imdecode(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_near_and_other_pictures_are_not(seed):
    grey = picture(seed)
    own = hash_picture(grey)
    smaller, larger = cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA), cv2.resize(grey, (200, 180))
    copies = [jpeg(grey, 40), smaller, larger, (grey * 0.9 + 8).astype(np.uint8)]
    assert max(bits_apart(own.bits, hash_picture(copy).bits) for copy in copies) <= THRESHOLD
    assert min(bits_apart(own.bits, hash_picture(picture(other)).bits) for other in range(100, 130)) > 2 * THRESHOLD


@pytest.mark.parametrize("seed", range(5))
def test_the_hash_of_the_mirror_image_is_known_beforehand(seed):
    """Exactly at even sizes; the picture itself is far from its mirror image."""
    grey = picture(seed, (128, 128))
    own, other = hash_picture(grey), hash_picture(np.ascontiguousarray(grey[:, ::-1]))
    assert bits_apart(own.mirrored, other.bits) <= 2 and bits_apart(own.bits, other.mirrored) <= 2
    assert bits_apart(own.bits, other.bits) > 2 * THRESHOLD


def test_half_of_the_bits_are_set_and_flat_pictures_have_none():
    assert 120 <= np.bitwise_count(hash_picture(picture(1)).bits).sum() <= 128
    assert hash_picture(np.full((50, 40), 7, np.uint8)) is None


def test_real_people_are_further_apart_than_the_threshold(real_faces):
    """All pairs of different people on a dozen photographs, at the size of the cropped copies of CK+."""
    files = sorted(real_faces.glob("images/*/*.jpg"))[:24]
    faces = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)[270:1080, 270:1080] for file in files]
    hashes = [hash_picture(cv2.resize(face, (48, 48), interpolation=cv2.INTER_AREA)) for face in faces]
    pairs = [(i, j) for i in range(len(files)) for j in range(i) if files[i].parent != files[j].parent]
    distances = [min(bits_apart(hashes[i].bits, hashes[j].bits), bits_apart(hashes[i].mirrored, hashes[j].bits)) for i, j in pairs]
    assert min(distances) > THRESHOLD + 10, min(distances)


# --- pairs ------------------------------------------------------------------------------------------------------------


@given(st.data(), st.integers(1, 70))
@settings(max_examples=60)
def test_pairs_agree_with_looking_at_each_pair(data, n_folds):
    """One fold or any folds (past 64, too), few people, hashes a few bits apart: counted again with loops."""
    count = data.draw(st.integers(2, 10))
    names = [f"i{number}" for number in range(count)]
    items = {name: Item(name, data.draw(st.sampled_from("ab"))) for name in names}
    members = st.lists(st.sampled_from(names), min_size=1, max_size=4)
    folds = tuple(SplitFold(str(n), tuple(data.draw(members)), tuple(data.draw(members))) for n in range(min(n_folds, 4)))
    if n_folds > 1:
        folds = folds + tuple(SplitFold(str(n), ("i0",), ("i0",)) for n in range(4, n_folds - 1)) + folds[:1]
    straight, turned = ({name: data.draw(st.integers(0, 15)) for name in names} for _ in range(2))
    digests = {name: data.draw(st.sampled_from("xyz")) for name in names}
    words = {name: np.array([[straight[name], 0, 0, 0], [turned[name], 1, 0, 0]], np.uint64) for name in names}
    hashes = {name: PictureHash(*words[name]) for name in names}
    report = find_duplicates(Split(items, folds), digests, hashes, threshold=1)
    exact = near = 0
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            apart = any((a in fold.test and b in fold.train) or (a in fold.train and b in fold.test) for fold in folds)
            exact += apart and digests[a] == digests[b]
            close = min((straight[a] ^ straight[b]).bit_count(), (turned[a] ^ straight[b]).bit_count() + 1) <= 1
            near += apart and close and digests[a] != digests[b] and items[a].subject != items[b].subject
    assert (report.exact, report.near) == (exact, near)
    assert len(report.pairs) == exact + near and report.compared == count
    for pair in report.pairs:
        fold = next(fold for fold in folds if fold.name == pair.fold)
        assert pair.test_image in fold.test and pair.train_image in fold.train
        assert (pair.distance <= 1) and (pair.kind == "exact" or pair.test_subject != pair.train_subject)


def test_a_thousand_equal_pictures_do_not_fill_the_report():
    names = [f"i{number:04d}" for number in range(1000)]
    split = Split({name: Item(name, name) for name in names}, (SplitFold("0", tuple(names[:500]), tuple(names[500:])),))
    one = hash_picture(picture(0))
    report = find_duplicates(split, {name: name for name in names}, dict.fromkeys(names, one))
    assert report.near == 500 * 500 and len(report.pairs) == 200 and {pair.distance for pair in report.pairs} == {0}


def test_of_one_split_only_training_and_test_are_compared_and_blocks_change_nothing(monkeypatch):
    """Seen red: 306 x 306 were compared in place of 6 x 300."""
    rng = np.random.default_rng(0)
    names = [f"i{number:03d}" for number in rng.permutation(306)]
    fold = SplitFold("0", (*names[:300], names[303]), tuple(names[300:]))
    split = Split({name: Item(name, name) for name in sorted(names)}, (fold,))
    hashes = {name: PictureHash(*rng.integers(0, 2**6, (2, 4), np.uint64)) for name in names}
    sizes, distances = [], near_duplicates._distances
    monkeypatch.setattr(near_duplicates, "_distances", lambda a, b: sizes.append(len(a) * len(b)) or distances(a, b))
    expected = find_duplicates(split, {name: name for name in names}, hashes, threshold=9)
    assert expected.near > 200 and sum(sizes) <= 4 * 6 * 301
    monkeypatch.setattr(near_duplicates, "_BLOCK", 7)
    monkeypatch.setattr(near_duplicates, "_COLUMNS", 5)
    assert find_duplicates(split, {name: name for name in names}, hashes, threshold=9) == expected


# --- on disk ----------------------------------------------------------------------------------------------------------


def tree(root):
    """train: people 001-004, test: 005-007, each with two pictures, nothing in common."""
    for person in range(1, 8):
        for take, place in (("03", "neutral"), ("08", "happy")):
            folder = root / ("train" if person < 5 else "test") / place
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{person:03d}_{take}_{place}.png"), picture(10 * person + int(take)))
    return root


def test_a_folder_of_pictures_is_compared_without_being_asked(tmp_path):
    report = check_split([tree(tmp_path)])
    assert not report.leaks and (report.pixels.compared, report.pixels.exact, report.pixels.near) == (14, 0, 0)


def test_a_picture_that_was_copied_to_the_other_side_is_found(tmp_path):
    """Under another person's name: byte for byte, mirrored and saved again."""
    tree(tmp_path)
    shutil.copy(tmp_path / "train/happy/001_08_happy.png", tmp_path / "test/happy/101_08_happy.png")
    again = np.ascontiguousarray(cv2.imread(str(tmp_path / "train/neutral/002_03_neutral.png"), 0)[:, ::-1])
    cv2.imwrite(str(tmp_path / "test/neutral/102_03_neutral.jpg"), again, [cv2.IMWRITE_JPEG_QUALITY, 60])
    report = check_split([tmp_path])
    assert report.leaks and report.overall.leaked_images == 0
    exact, near = report.pixels.pairs
    assert (exact.kind, exact.test_image, exact.train_image) == ("exact", "happy/101_08_happy.png", "happy/001_08_happy.png")
    assert (near.kind, near.mirrored, near.test_subject, near.train_subject) == ("near", True, "102", "002") and near.distance <= THRESHOLD


def test_lists_are_compared_below_a_root_and_what_is_not_there_is_counted(tmp_path):
    """Names alone suffice where only one file is called so."""
    root = tree(tmp_path / "pictures")
    (tmp_path / "train.txt").write_text("train/happy/001_08_happy.png\n002_08_happy.png\n003_03_neutral.png\n")
    (tmp_path / "test.txt").write_text("005_03_neutral.png\n099_03_neutral.png\n006_08_happy.png\n007_08_happy.png")
    cv2.imwrite(str(root / "test/happy/006_08_happy.png"), np.full((20, 20), 9, np.uint8))
    (root / "test/happy/007_08_happy.png").write_bytes(b"\x89PNG\r\n\x1a\nshort")
    (root / "test/happy/._005_03_neutral.png").write_bytes(b"\x00\x05\x16\x07")
    shutil.copytree(root / "train/neutral", root / "copies")                # 003_03_neutral.png lies at two places now
    steps = []
    lists = [tmp_path / "train.txt", tmp_path / "test.txt"]
    report = check_split(lists, images=root, progress=lambda done, total: steps.append((done, total)))
    assert (report.pixels.compared, report.pixels.not_compared) == (3, 4)
    notes = " ".join(report.pixels.notes)
    assert "2 pictures were not found" in notes and "1 pictures are of one tone" in notes and "1 pictures cannot be decoded" in notes
    assert steps[4] == (5, 5) and steps[-1] == (3, 3)                       # read, then compared. Seen red: nothing of the latter
    (tmp_path / "empty").mkdir()
    with pytest.raises(SplitError, match=r"none of the 7 entries was found below .*, e\.g\. 'train/happy/001_08_happy.png'"):
        check_split(lists, images=tmp_path / "empty")


def test_a_prepared_folder_is_compared_by_the_hashes_in_its_manifest(prepared_ck):
    report = check_split([prepared_ck])
    assert not report.leaks and report.pixels.threshold is None and report.pixels.compared == report.images
    assert report.kind == "cross-validation" and len(report.folds) == 4 and report.overall.leaked_percent == 0
