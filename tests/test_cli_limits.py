"""A lack of memory is told as what it is: one sentence, exit code 1; not a traceback, and not "Interrupted"."""

import resource
import signal
import subprocess
import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec

import click
import pytest
from click.testing import CliRunner

from cli import common, limits

SPEC = ModuleSpec("numpy._core._multiarray_umath", None)


@pytest.mark.parametrize("words", [["cli.fer_data", "inspect", "."], ["cli.fer_model", "evaluate", "."]])
def test_too_little_address_space_is_one_sentence(words):
    """As with `ulimit -v 400000`; help needs no more.

    Seen red: check_limits away (then OpenCV crashes); numpy imported by cli.fer_model; the check for groups too, before help.
    """

    def limited(*words):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (400_000 << 10, resource.RLIM_INFINITY))

        return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, preexec_fn=limit, timeout=60)

    done = limited(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: at least 768 MB of address space are needed, the limit is 391 MB; set a higher one with ulimit -v\n"
    assert limited(*words[:2], "--help").returncode == 0


@pytest.fixture
def loading(monkeypatch):
    """Return a function that loads a library which does something meanwhile, watched."""

    def load(meanwhile):
        monkeypatch.setattr(ExtensionFileLoader, "create_module", lambda loader, spec: meanwhile())
        with limits.libraries_are_watched():
            return ExtensionFileLoader("numpy", "numpy.so").create_module(SPEC)

    return load


def test_a_signal_that_a_library_sends_itself_is_no_ctrl_c(loading):
    """OpenBLAS does that where it cannot start its threads; seen with `ulimit -v 128000; python -c "import numpy"`.

    Seen red: si_pid compared with 0; the signal left waiting.
    """
    assert loading(lambda: "module") == "module"
    with pytest.raises(limits.MemoryLimitError, match=r"the threads of numpy cannot be started.*ulimit -u.*OPENBLAS_NUM_THREADS=1"):
        loading(lambda: signal.raise_signal(signal.SIGINT))

    def and_fails():
        signal.raise_signal(signal.SIGINT)
        raise ImportError("half loaded")

    with pytest.raises(limits.MemoryLimitError):
        loading(and_fails)


_INTERRUPTED = """
import os, signal, subprocess
from importlib.machinery import ExtensionFileLoader
from cli import limits

ExtensionFileLoader.create_module = lambda loader, spec: subprocess.run(["kill", "-INT", str(os.getpid())], check=True)
try:
    with limits.libraries_are_watched():
        ExtensionFileLoader("numpy", "numpy.so").create_module(None)
except KeyboardInterrupt:
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    print("Ctrl-C")
"""


def test_ctrl_c_while_a_library_is_loaded_is_ctrl_c():
    """In a process of its own, as a command is: another thread of the tests' could take the signal. Seen red: every SIGINT taken for the
    library's."""
    done = subprocess.run([sys.executable, "-c", _INTERRUPTED], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("Ctrl-C\n", 0), done.stderr


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (MemoryError(), "there is not enough memory"),
        (MemoryError("Unable to allocate 3 GiB"), "there is not enough memory (Unable to allocate 3 GiB)"),
        (ImportError("a.so: failed to map segment from shared object"), "(a.so: failed to map segment from shared object)"),
        (RuntimeError("can't start new thread"), "(can't start new thread)"),
    ],
)
def test_a_lack_of_memory_is_one_sentence(error, detail):
    """Seen red: MemoryError left to Python."""
    done = CliRunner().invoke(raising(error))
    assert done.exit_code == 1 and detail in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("error", [ImportError("No module named 'torch'"), RuntimeError("a fault of ours")])
def test_any_other_error_keeps_its_traceback(error):
    """Seen red: every RuntimeError taken for one."""
    assert CliRunner().invoke(raising(error)).exception is error


def test_names_in_errors_are_printed_as_they_are():
    """Seen red: rich's emoji left on; `:smile:` became a face."""
    assert ":smile:[red]" in CliRunner().invoke(raising(OSError("no file a:smile:[red].png"))).stderr


def raising(error):
    """Return a program whose only command raises an error."""

    @click.group(cls=common.Group, invoke_without_command=True)
    def main():
        raise error

    return main
