"""The table of the speed benchmarks: what is a median of what, which bars hold, what becomes of a module that fails."""

import json
import math
import os
import re

import pytest

from benchmarks import table
from benchmarks.table import Bar, Pair


def test_ours_and_the_rival_run_in_turn_and_change_places(monkeypatch):
    """And have the seconds of their own calls, on a clock that these move. Seen red: without the change of places the rival always came
    second; with the unmeasured first call counted, 4 rounds were 5; the clock read before `before`, which then counted."""
    calls, took = [], {"ours": 2, "rival": 3, "-": 100}
    monkeypatch.setattr(table.time, "perf_counter", lambda: sum(took[name] for name in calls))
    ours, rival, before = (lambda name=name: calls.append(name) for name in ("ours", "rival", "-"))
    measured = table.pairs(ours, rival, rounds=4, before=before)
    assert calls[::2] == ["-"] * 10
    assert calls[1::2] == ["ours", "rival", "ours", "rival", "rival", "ours", "ours", "rival", "rival", "ours"]
    assert (measured.ours, measured.rival) == ((2,) * 4, (3,) * 4)


def test_a_ratio_is_the_median_over_pairs():
    """A machine that is three times as slow for one pair changes nothing. Seen red: the ratio of the sums of the second is 3.4."""
    assert Pair(ours=(1.0, 1.0, 3.0), rival=(2.0, 2.0, 6.0)).ratio == 2.0
    assert Pair(ours=(1.0, 3.0, 1.0), rival=(2.0, 6.0, 9.0)).ratio == 2.0


@pytest.mark.parametrize(("measured", "most", "holds"), [(2, False, True), (1.9, False, False), (2, True, True), (2.1, True, False),
                                                         (math.nan, False, False), (math.nan, True, False)])
def test_a_bar_holds_from_its_own_side(measured, most, holds):
    assert Bar("a", measured, 2, most=most).holds is holds


def test_threads_are_held_and_given_back():
    """Seen red: without `finally` OpenCV kept one thread after an error."""
    import cv2

    before = cv2.getNumThreads(), os.sched_getaffinity(0)
    with pytest.raises(KeyError), table.threads(1):
        assert cv2.getNumThreads() == len(os.sched_getaffinity(0)) == 1
        raise KeyError
    assert (cv2.getNumThreads(), os.sched_getaffinity(0)) == before


def test_the_table_shows_figures_with_three_digits_and_what_does_not_hold():
    bars = [Bar("a", 12.345, 3.5), Bar("b", 0.01234, 3, "s", most=True), Bar("d", 0, 0, "decodes", most=True)]
    bars.insert(2, Bar("c", 12345.6, 20_000, "samples/s", note="n"))
    shown = table.markdown(table.content(bars, "bench", {"units": "AMX"})).splitlines()
    assert shown[0] == "units AMX." and re.match(r"code [0-9a-f]{12}, python 3\.", shown[1])
    assert shown[-4:] == [
        "| a | 12.3 x | at least 3.5 x | yes | AMX |  |",
        "| b | 0.0123 s | at most 3 s | yes | AMX |  |",
        "| c | 12,346 samples/s | at least 20,000 samples/s | **no** | AMX | n |",
        "| d | 0 decodes | at most 0 decodes | yes | AMX |  |",
    ]


def test_a_module_writes_its_bars_and_fails_if_one_does_not_hold(tmp_path):
    file = tmp_path / "a.json"
    assert table.run_module(lambda size: [Bar(size, 1, 2)], "about", ["--size", "tiny", "--json", str(file)]) == 1
    written = json.loads(file.read_text())
    assert written["size"] == "tiny" and written["bars"][0]["name"] == "tiny" and written["bars"][0]["holds"] is False
    assert table.run_module(lambda size: [Bar(size, 3, 2)], "about", ["--json", str(file)]) == 0


def test_a_module_that_ends_without_a_table_fails_the_run(monkeypatch, tmp_path, capsys):
    """Seen red: with failures forgotten, only the slow bar was named."""

    def run(command, **_):
        if "benchmarks.views" in command:
            table.run_module(lambda size: [Bar("swift", 3, 2), Bar("slow", 1, 2)], "about", command[3:])

    monkeypatch.setattr(table.subprocess, "run", run)
    assert table.main(["--only", "prepare", "views", "--size", "tiny", "--write", str(tmp_path / "bars")]) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == ["failed: prepare", "does not hold: slow"]
    written = json.loads((tmp_path / "bars.json").read_text())["bars"]
    assert [(bar["module"], bar["name"]) for bar in written] == [("views", "swift"), ("views", "slow")]
    assert "**no**" in (tmp_path / "bars.md").read_text()


@pytest.fixture
def ran(monkeypatch):
    """The modules that were run: each has a bar that is met, a little less with each run."""
    modules = []

    def run(command, **_):
        def bars(size):
            modules.append(command[2].removeprefix("benchmarks."))
            return [Bar(modules[-1], 12 / len(modules), 2, note="n"), Bar("seconds", len(modules), 9, "s", most=True)]

        table.run_module(bars, "about", command[3:])

    monkeypatch.setattr(table.subprocess, "run", run)
    return modules


def test_the_worst_of_several_runs_counts_and_all_are_told(ran, tmp_path):
    """Seen red: with the first run's figure, and with the largest also where little is wanted."""
    table.main(["--only", "views", "--runs", "3", "--size", "tiny", "--write", str(tmp_path / "bars")])
    assert ran == ["views"] * 3
    ratio, seconds = json.loads((tmp_path / "bars.json").read_text())["bars"]
    assert (ratio["measured"], ratio["note"]) == (4, "n; 3 runs: 12.0, 6.00, 4.00")
    assert (seconds["measured"], seconds["note"]) == (3, "3 runs: 1.00, 2.00, 3.00")


def test_an_interrupted_table_goes_on_and_keeps_nothing_that_other_code_gave(ran, tmp_path, monkeypatch):
    """Seen red: with nothing written until the end, and with the hash of the code left out."""
    words = ["--size", "tiny", "--write", str(tmp_path / "bars"), "--resume"]
    goes_on = table.subprocess.run

    def interrupted(command, **options):
        if "benchmarks.views" in command:
            raise KeyboardInterrupt
        goes_on(command, **options)

    monkeypatch.setattr(table.subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        table.main(words)
    monkeypatch.setattr(table.subprocess, "run", goes_on)
    table.main(words)
    assert ran == list(table.MODULES)
    table.main([*words, "--only", "views"])
    assert ran == list(table.MODULES)
    assert {bar["module"] for bar in json.loads((tmp_path / "bars.json").read_text())["bars"]} == set(table.MODULES)
    monkeypatch.setattr(table, "_code", lambda: "another")
    table.main([*words, "--only", "views"])
    assert ran[len(table.MODULES) :] == ["views"]
    assert [bar["module"] for bar in json.loads((tmp_path / "bars.json").read_text())["bars"]] == ["views"] * 2


@pytest.mark.parametrize(("size", "expected"), [("bench", table.MODULES), ("long", (*table.MODULES, *table.LONG))])
def test_size_long_runs_the_long_modules_as_well(size, expected, monkeypatch):
    """Seen red: with LONG left out, size long ran what bench runs."""
    ran = []
    monkeypatch.setattr(table.subprocess, "run", lambda command, **_: ran.append(command[2].removeprefix("benchmarks.")))
    table.main(["--size", size])
    assert tuple(ran) == expected


def test_a_part_that_was_measured_is_not_measured_again(monkeypatch, tmp_path):
    """The second of three parts is interrupted; then it and the third are measured, and the bars have all three.

    Seen red: with nothing kept before the module's end.
    """
    measured, stop = [], ["b"]

    def measure(part, size):
        if part in stop:
            raise KeyboardInterrupt
        measured.append(part)
        return {"part": part}

    def bars(size, found):
        return [Bar("".join(one["part"] for one in found.values()), len(found), 3)]

    def run(command, **_):
        table.run_parts(lambda size: tuple("abc"), measure, bars, "about", command[3:])

    monkeypatch.setattr(table.subprocess, "run", run)
    words = ["--only", "growth", "--size", "tiny", "--write", str(tmp_path / "bars-{processor}"), "--resume"]
    with pytest.raises(KeyboardInterrupt):
        table.main(words)
    stop.clear()
    assert table.main(words) == 0 and measured == ["a", "b", "c"]
    file = tmp_path / f"bars-{table.processor().lower().replace(' ', '-')}.json"
    assert [bar["name"] for bar in json.loads(file.read_text())["bars"]] == ["abc"]


def test_torch_that_is_held_to_avx2_counts_as_avx2(monkeypatch):
    """Seen red: the processor's own units named."""
    monkeypatch.setattr(table, "_of_proc", lambda name, pattern: "fpu avx2 avx512f avx512_bf16 amx_bf16")
    assert table.processor() == "AMX"
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert table.processor() == "AVX2"
    monkeypatch.setattr(table, "_of_proc", lambda name, pattern: "fpu sse2")
    assert table.processor() == "unknown"
