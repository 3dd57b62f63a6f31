"""Who is a person: spellings that must not matter do not, those that may matter are told, and everybody else stays apart."""

import string
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_data.errors import DatasetError
from fer_data.people import EMPTY_WORDS, alike, one_name, person, refuse_alike

SPACES = [" ", "  ", "\t", "\u00a0", "\u3000", "\u2003 ", "\r\n"]
INVISIBLE = ["\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u200e"]
words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)
ids = st.lists(words, min_size=1, max_size=3)


@given(ids, st.sampled_from(["NFC", "NFD"]), st.lists(st.sampled_from(SPACES), min_size=4, max_size=4),
       st.lists(st.tuples(st.integers(0, 40), st.sampled_from(INVISIBLE)), max_size=4), st.booleans())
@settings(suppress_health_check=[HealthCheck.too_slow])     # the first draw builds the table of letters
def test_spellings_that_do_not_matter_give_one_id(parts, form, spaces, invisible, at_ends):
    """Seen red: without normalize; with text.split(" "); with Cf left in, or taken out after NFC."""
    text = spaces[0].join([parts[0]]) + "".join(space + part for space, part in zip(spaces, parts[1:], strict=False))
    other = unicodedata.normalize(form, text)
    for place, one in invisible:
        other = other[: place % (len(other) + 1)] + one + other[place % (len(other) + 1) :]
    if at_ends:
        other = spaces[2] + other + spaces[3]
    assert person(other) == person(" ".join(parts))


@given(st.text(max_size=20))
def test_the_rule_says_the_same_when_it_is_asked_again(text):
    """Seen red: with text.split(" ") alone."""
    once = person(text)
    assert once is None or (person(once) == once and once and once == once.strip())


@given(st.integers(0, 10**9), st.integers(1, 4), st.sampled_from(".,"))
def test_decimals_of_a_spreadsheet_are_off(number, zeros, point):
    """Seen red: with `.0` alone."""
    assert person(f"{number}{point}{'0' * zeros}") == person(f" {number} ") == str(number)
    assert person(f"{number}.5") == f"{number}.5" and person(f"S{number}.0") == f"S{number}.0"


@pytest.mark.parametrize(
    "word", [*EMPTY_WORDS, "Unknown", "#NV", "#BEZUG!", "#NAME?", "NaN", "None", "-", "--", "?", " \u200b", "\u2013", "\ufeffnan ", "N/A"]
)
def test_words_for_nothing_are_nobody(word):
    """Seen red: without lower(); #NAME? and Unknown were people."""
    assert person(word) is None


@pytest.mark.parametrize("word", ["Nana", "Noneta", "REF", "unknown 2", "0", "-1", "nan1", "N", "\u5f20", "na-na"])
def test_names_that_hold_such_a_word_are_people(word):
    assert person(word) == word


@pytest.mark.parametrize(
    "group",
    [("001", "1"), ("S001", "s001"), ("S001", "S1"), ("S1", "S_1"), ("S 1", "S1"), ("S-1", "S_1"), ("Anna Maria", "AnnaMaria"),
     ("1-2", "1_2"), ("S1", "\uff331"), ("Stra\u00dfe", "STRASSE"), ("p1.a", "P01_A"), ("S1", "S1_"), ("00", "000")],
)
def test_case_leading_zeros_and_separators_alone_are_told(group):
    """Seen red: without casefold, without lstrip, with spaces alone as separators."""
    assert [set(found) for found in alike(group)] == [set(group)]


@pytest.mark.parametrize(
    "people",
    [("1", "10", "100"), ("Nat", "Nil"), ("1_12", "11_2", "112"), ("S1", "P1"), ("F01", "M01"), ("S0", "S"), ("a+", "a"),
     ("\u0915\u093f", "\u0915\u093e"), ("S1a", "S1b"), ("Ren\u00e9", "Rene"), ("S1.5", "S15")],
)
def test_others_are_not_told(people):
    """The eighth: two syllables of Devanagari that differ in their vowel sign. Seen red: with every \\W as a separator."""
    assert alike(people) == []


@given(st.lists(st.text(string.ascii_letters + string.digits + " _-.", min_size=1, max_size=5), max_size=12))
def test_the_groups_part_the_ids(names):
    """Each id stands in one group at most, and what is alike in pairs is alike together."""
    found = alike(names)
    members = [one for group in found for one in group]
    assert len(members) == len(set(members)) and set(members) <= set(names)
    for group in found:
        for one in group:
            assert [set(pair) for pair in alike([group[0], one])] == ([{group[0], one}] if one != group[0] else [])


def test_the_databases_that_are_known_have_nobody_alike():
    """The ids of CK+, MMI, Oulu-CASIA, BU-4DFE as they are published: nothing to refuse, nothing changed."""
    known = [f"S{n:03d}" for n in range(1000)] + [f"P{n:03d}" for n in range(1, 81)] + [f"{s}{n:03d}" for s in "FM" for n in range(1, 59)]
    assert alike(known) == [] and [person(one) for one in known] == known


def test_what_is_refused_is_named_with_the_option():
    """Seen red: `raise` away."""
    refuse_alike("preparing folder", ["1", "2", "10"])
    with pytest.raises(DatasetError, match=r"^preparing folder: these subjects .*: 001 and 1, 002 and 2; .*--distinct-subjects"):
        refuse_alike("preparing folder", ["1", "001", "2", "002", "3"])


def test_a_person_of_the_cropped_copy_is_one_of_ck_plus():
    assert one_name("ck48", "S005") == one_name("ck+", " S005\u200b") == "ck+/S005" and one_name("mine", "-") == "mine/-"
