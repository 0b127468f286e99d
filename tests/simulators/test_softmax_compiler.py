"""Compiling kernels: which compiler is taken, what is kept of its work, and what is said when it fails.
Fake compilers are scripts.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import psutil
import pytest

from archgym.errors import ArchGymError
from archgym.simulators import compiler as module
from archgym.simulators.compiler import Compiler, CompilerError
from archgym.simulators.softmax.machine import cpu
from archgym.simulators.softmax.machine.kernels import HEADERS, SOURCES, Kernel, Kernels, kernel_compiler

DESIGN = {
    "algorithm": "online",
    "isa": "scalar",
    "unroll": 2,
    "accumulators": 2,
    "prefetch": 0,
    "nontemporal": False,
    "tile": 256,
    "threads": 1,
}
OPTIONS = Kernel.from_design(DESIGN).options
PATH = os.environ["PATH"]  # for fake compilers, which start others
OUT = 'out=; for word; do [ "$last" = -o ] && out=$word; last=$word; done\n'  # a fake compiler's output file

pytestmark = pytest.mark.skipif(os.name != "posix", reason="fake compilers are shell scripts")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The words of a compiler that works."""
    try:
        command = kernel_compiler(tmp_path_factory.mktemp("real")).command
    except CompilerError as error:
        pytest.skip(str(error))
    return [shutil.which(command[0]), *command[1:]]


@pytest.fixture(autouse=True)
def no_chosen_compiler(monkeypatch):
    monkeypatch.delenv("CC", raising=False)


@pytest.fixture
def fake(tmp_path):
    """Writes a script that answers --version with `version` and otherwise does `does`: fake(name, does,
    version) -> its path.
    """

    def write(name, does, version="fake 1.0"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        head = f"#!/bin/sh\nPATH={shlex.quote(PATH)}\n"
        path.write_text(
            f'{head}if [ "$1" = --version ]; then echo {shlex.quote(version)}; exit; fi\n{does}\n'
        )
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def compiles(real):
    """What a fake compiler does that compiles after all."""
    return f'exec {shlex.join(real)} "$@"'


@pytest.fixture
def only_path(tmp_path, monkeypatch):
    """PATH has nothing but the fake compilers, and ziglang is not installed."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setitem(sys.modules, "ziglang", None)


def softmax_is_right(kernels):
    x = np.array([[1, 2, 3, -np.inf]], np.float32)
    y = np.empty_like(x)
    kernels.run(DESIGN, x, y)
    np.testing.assert_allclose(y, np.exp(x) / np.exp(x).sum(), rtol=1e-6)


def files(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# --- which compiler ---


def test_without_any_compiler_the_error_says_what_to_install_and_what_needs_none(only_path, tmp_path):
    with pytest.raises(CompilerError) as caught:
        kernel_compiler(tmp_path / "kept")
    for hint in (
        "install gcc or clang",
        "pip install 'archgym[compiler]'",
        "backend='model'",
        "found none of cc, gcc, clang, ziglang",
    ):
        assert hint in str(caught.value)
    assert isinstance(caught.value, ArchGymError)
    assert files(tmp_path / "kept") == []


@pytest.mark.parametrize("names", [["cc", "gcc", "clang"], ["gcc", "clang"], ["clang"]])
def test_cc_is_taken_before_gcc_and_gcc_before_clang(fake, compiles, only_path, tmp_path, names):
    for name in names:
        fake(name, compiles, version=f"{name} 1.0")
    found = kernel_compiler(tmp_path / "kept")
    assert found.command == (names[0],) and found.version == f"{names[0]} 1.0"


def test_a_compiler_that_fails_gives_way_to_the_next(fake, compiles, only_path, tmp_path):
    fake("cc", "exit 1")
    fake("gcc", "echo 'fatal error: no stdlib.h'; exit 1")
    fake("clang", compiles)
    assert kernel_compiler(tmp_path / "kept").command == ("clang",)


def test_all_that_fail_are_named_with_their_reasons(fake, only_path, tmp_path):
    fake("cc", "exit 3")
    fake("gcc", "echo 'in file x'; echo 'fatal error: no stdlib.h'; exit 1")
    with pytest.raises(
        CompilerError,
        match=r"cc ended with exit code 3: no message; gcc ended with exit code 1: fatal error: no stdlib.h",
    ):
        kernel_compiler(tmp_path / "kept")
    assert files(tmp_path / "kept") == []


def test_the_compiler_of_CC_may_have_arguments(real, monkeypatch, tmp_path):
    monkeypatch.setenv("CC", shlex.join([*real, "-g"]))
    found = kernel_compiler(tmp_path)
    assert found.command == (*real, "-g") and "-g" in found.version
    softmax_is_right(Kernels(found))


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_CC_chooses_nothing(real, monkeypatch, tmp_path, blank):
    monkeypatch.setenv("CC", blank)
    kernel_compiler(tmp_path)


GARBAGE = r"printf '\377\376\001 garbage'"


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        (
            "echo 'cc1: error: out of memory' >&2; exit 4",
            r"ended with exit code 4: cc1: error: out of memory",
        ),
        ("kill -9 $$", r"was killed by SIGKILL"),
        (f"{GARBAGE}; exit 1", "garbage"),
        (GARBAGE, ""),
        ("exit 0", ""),
        (OUT + "rm $out", ""),
        (OUT + "echo not a library > $out", ""),
    ],
    ids=[
        "fails",
        "is killed",
        "prints garbage and fails",
        "prints garbage",
        "does nothing",
        "no file",
        "no library",
    ],
)
def test_a_chosen_compiler_that_makes_no_library_is_refused_and_leaves_nothing(
    fake, real, monkeypatch, tmp_path, does, reason
):
    monkeypatch.setenv("CC", str(fake("mine", does)))
    with pytest.raises(
        CompilerError, match=rf"no C compiler works here \((?s:.*){reason}(?s:.*)correct or unset CC"
    ):
        kernel_compiler(tmp_path / "kept")
    assert files(tmp_path / "kept") == []


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ("/nonexistent/cc -O2", "/nonexistent/cc cannot be run: No such file or directory"),
        ("/", "cannot be run"),
        ("'' x", "cannot be run"),
        ("gcc 'unclosed", "CC"),
        ("false", r"false ended with exit code 1"),
    ],
)
def test_a_CC_that_is_no_program_is_refused(monkeypatch, tmp_path, chosen, reason):
    monkeypatch.setenv("CC", chosen)
    with pytest.raises(CompilerError, match=f"{reason}.*correct or unset CC"):
        kernel_compiler(tmp_path)


def test_a_CC_that_prints_binary_is_refused_in_text(fake, monkeypatch, tmp_path):
    path = fake("mine", "")
    path.write_text(f"#!/bin/sh\n{GARBAGE}; exit 1\n")
    monkeypatch.setenv("CC", str(path))
    with pytest.raises(CompilerError, match=r"mine ended with exit code 1: .*garbage"):
        kernel_compiler(tmp_path)


@pytest.mark.parametrize("when", ["asked for its version", "compiling"])
def test_a_compiler_that_hangs_is_killed_with_its_children(fake, monkeypatch, tmp_path, when):
    path = fake("mine", "")
    hang = f"echo $$ >> {tmp_path}/processes; sleep 1000 & echo $! >> {tmp_path}/processes; wait\n"
    asked = "" if when == "asked for its version" else 'if [ "$1" = --version ]; then echo 1.0; exit; fi\n'
    path.write_text(f"#!/bin/sh\n{asked}{hang}")
    monkeypatch.setenv("CC", str(path))
    monkeypatch.setattr(module, "TIMEOUT_S", 2.0)
    with pytest.raises(CompilerError, match="mine was killed after 2 s"):
        kernel_compiler(tmp_path / "kept")
    processes = [int(line) for line in (tmp_path / "processes").read_text().split()]
    assert len(processes) >= 2
    deadline = time.monotonic() + 30
    while any(alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(process) for process in processes)
    assert files(tmp_path / "kept") == []


@pytest.mark.parametrize("ends", ["exit 1", "sleep 1000"])
def test_what_a_compiler_detached_ends_with_it(fake, monkeypatch, tmp_path, ends):
    detach = (
        f"setsid sh -c 'echo $$ >> {tmp_path}/processes; exec sleep 1000' &\nwhile ! [ -s "
        f"{tmp_path}/processes ]; do sleep 0.01; done\n"
    )
    monkeypatch.setenv("CC", str(fake("mine", detach + ends)))
    monkeypatch.setattr(module, "TIMEOUT_S", 2.0)
    with pytest.raises(CompilerError):
        kernel_compiler(tmp_path / "kept")
    assert not any(alive(int(line)) for line in (tmp_path / "processes").read_text().split())


def test_a_compiler_that_makes_another_library_is_refused(fake, real, monkeypatch, tmp_path):
    (tmp_path / "other.c").write_text("int other(void) { return 0; }\n")
    compile_other = f"{OUT}{shlex.join(real)} -shared -fPIC {tmp_path}/other.c -o $out"
    monkeypatch.setenv("CC", str(fake("mine", compile_other)))
    with pytest.raises(
        CompilerError,
        match=r"the library that \S*mine made of harness.c cannot be used: .*undefined symbol: run",
    ):
        kernel_compiler(tmp_path / "kept")
    assert files(tmp_path / "kept") == []


def alive(process):
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# --- what is kept ---


@pytest.fixture
def counting(fake, real, compiles, tmp_path):
    """A compiler that notes what it is told: counting(version) -> (compiler, its arguments call by call)."""
    log = tmp_path / "log"

    def make(version="fake 1.0"):
        path = fake("mine", f"printf '%s\\n' CALL \"$@\" >> {log}\n{compiles}", version)
        return Compiler((str(path),), version, tmp_path / "kept")

    def calls():
        return [call.splitlines()[1:] for call in log.read_text().split("CALL")[1:]] if log.exists() else []

    return make, calls


def test_a_library_is_compiled_once_and_again_for_other_options_or_another_compiler(counting):
    make, calls = counting
    first = make().build(SOURCES / "softmax.c", OPTIONS)
    assert first == make().build(SOURCES / "softmax.c", OPTIONS) and len(calls()) == 1
    others = {
        make().build(SOURCES / "softmax.c", [*OPTIONS, "-DOTHER"]),
        make("fake 1.1").build(SOURCES / "softmax.c", OPTIONS),
        make().build(SOURCES / "harness.c"),
    }
    assert len(others | {first}) == 4 and len(calls()) == 4
    assert all(path.exists() for path in others) and len(files(first.parent)) == 4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere libraries hold their names")
@pytest.mark.parametrize("isa", cpu.instruction_sets())
def test_our_short_header_gives_the_library_that_the_whole_one_gives(real, tmp_path, isa):
    design = DESIGN | {"isa": isa, "prefetch": 256, "nontemporal": True}
    short = Kernel.from_design(design).options
    whole = [word for word in short if word not in ("-isystem", str(HEADERS))]
    assert len(whole) == len(short) - 2
    compiler = Compiler(tuple(real), "1", tmp_path)
    first, second = (compiler.build(SOURCES / "softmax.c", options) for options in (short, whole))
    assert first != second and first.read_bytes() == second.read_bytes()


def test_kernels_that_are_kept_start_no_compiler(counting, monkeypatch):
    make, calls = counting
    monkeypatch.setenv("CC", make().command[0])
    softmax_is_right(Kernels(kernel_compiler(make().folder)))
    before = len(calls())
    softmax_is_right(Kernels(kernel_compiler(make().folder)))
    assert before == len(calls()) == 2


def test_other_sources_give_another_library(counting, monkeypatch, tmp_path):
    make, _ = counting
    first = make().build(SOURCES / "harness.c")
    copy = tmp_path / "sources"
    shutil.copytree(SOURCES, copy)
    (copy / "harness.c").write_text((copy / "harness.c").read_text() + "\n/* changed */\n")
    assert make().build(copy / "harness.c") != first


@pytest.mark.parametrize("ends", ["exit 1", "kill -9 $$"])
def test_a_compiler_that_ends_half_way_leaves_no_file(fake, tmp_path, ends):
    kept = tmp_path / "kept"
    path = fake("mine", f"{OUT}printf partial > $out\n{ends}")
    with pytest.raises(
        CompilerError, match=r"mine (ended with exit code 1|was killed by SIGKILL): no message"
    ):
        Compiler((str(path),), "1", kept).build(SOURCES / "harness.c")
    assert files(kept) == []


def test_a_build_that_is_interrupted_leaves_no_file_and_no_process(fake, tmp_path):
    path = fake(
        "mine",
        f"{OUT}printf partial > $out; echo $$ > {tmp_path}/started.new; mv {tmp_path}/started.new "
        f"{tmp_path}/started; sleep 1000",
    )
    code = f"""
from pathlib import Path
from archgym.simulators.compiler import Compiler
try:
    Compiler(({str(path)!r},), "1", Path({str(tmp_path / "kept")!r})).build(Path({str(SOURCES / "harness.c")!r}))
except KeyboardInterrupt:
    print("interrupted")
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(2)
    assert process.communicate(timeout=60)[0].strip() == "interrupted"
    assert files(tmp_path / "kept") == []
    assert not alive(int((tmp_path / "started").read_text()))


RUN = """
import sys
from pathlib import Path
import numpy as np
from archgym.simulators.compiler import Compiler
from archgym.simulators.softmax.machine.kernels import Kernels
folder, design, command = Path(sys.argv[1]), eval(sys.argv[2]), sys.argv[3:]
print("ready", flush=True)
sys.stdin.readline()
kernels = Kernels(Compiler(tuple(command), "1", folder))
x = np.zeros((1, 4), np.float32)
kernels.run(design, x, x)
assert (x == 0.25).all(), x
print("right")
"""


@pytest.fixture
def start(real):
    """Another process that runs a kernel kept in a folder when it is told to go."""

    def start(folder):
        words = [sys.executable, "-c", RUN, folder, repr(DESIGN), *real]
        return subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start


@pytest.fixture(scope="module")
def built(real, tmp_path_factory):
    """A folder with a kernel and the harness."""
    folder = tmp_path_factory.mktemp("built")
    for source, options in (("softmax.c", OPTIONS), ("harness.c", [])):
        Compiler(tuple(real), "1", folder).build(SOURCES / source, options)
    return folder


@pytest.mark.parametrize("source", ["softmax", "harness"])
@pytest.mark.parametrize("damage", ["emptied", "cut", "overwritten"])
def test_a_damaged_library_is_compiled_again(built, start, tmp_path, source, damage):
    folder = shutil.copytree(built, tmp_path / "kept")
    (path,) = folder.glob(f"{source}-*.so")
    content = path.read_bytes()
    path.write_bytes(
        {"emptied": b"", "cut": content[: len(content) // 2], "overwritten": bytes(len(content))}[damage]
    )
    process = start(folder)
    output, errors = process.communicate("go\n", timeout=120)
    assert (process.returncode, output) == (0, "ready\nright\n"), errors
    assert len(files(folder)) == 2


def test_two_processes_that_build_one_library_at_once_both_get_it(start, tmp_path):
    processes = [start(tmp_path), start(tmp_path)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=120)[0] for process in processes] == ["right\n"] * 2
    assert [name.split("-")[0] for name in files(tmp_path)] == ["harness", "softmax"]


def test_a_data_folder_that_cannot_be_written_gives_way_to_a_temporary_one(real, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.warns(
        UserWarning,
        match=r"cannot write to .*/file/home/kernels.* set ARCHGYM_HOME to a folder that can be written",
    ):
        found = kernel_compiler()
    assert found.folder.parent == tmp_path
    softmax_is_right(Kernels(found))


def test_libraries_are_kept_in_the_data_folder(real, monkeypatch, tmp_path):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "home"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = kernel_compiler()
    assert found.folder == tmp_path / "home" / "kernels"
    assert [name.split("-")[0] for name in files(found.folder)] == ["harness"]


def test_a_chosen_folder_that_cannot_be_written_is_an_error_that_says_so(real, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        CompilerError, match=r"cannot keep compiled kernels in .*/file/kept .*; set ARCHGYM_HOME"
    ):
        Compiler(tuple(real), "1", tmp_path / "file" / "kept").build(SOURCES / "harness.c")


# --- what a compiler is told ---


@pytest.mark.parametrize(
    "word",
    [">TOUCHED", "$(>TOUCHED)", "`>TOUCHED`", "X;>TOUCHED", "X&&>TOUCHED", 'X">TOUCHED"', "X'>TOUCHED'", "*"],
)
def test_words_of_a_shell_reach_the_compiler_as_one_word(fake, monkeypatch, tmp_path, word):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    path = fake("mine", f"printf '%s\\n' \"$@\" > {tmp_path}/log; exit 1")
    with pytest.raises(CompilerError):
        Compiler((str(path),), "1", tmp_path / "kept").build(
            SOURCES / "softmax.c", Kernel.from_design(DESIGN | {"algorithm": word}).options
        )
    assert f"-DALGORITHM_{word.upper()}" in (tmp_path / "log").read_text().splitlines()
    assert files(tmp_path / "work") == []


@pytest.mark.parametrize("name", ["unroll", "accumulators", "prefetch", "nontemporal"])
def test_words_in_place_of_numbers_are_refused(counting, monkeypatch, tmp_path, name):
    make, calls = counting
    with pytest.raises(ValueError):
        Kernels(make()).build([Kernel.from_design(DESIGN | {name: f"1; touch {tmp_path}/touched"})])
    assert not (tmp_path / "touched").exists() and len(calls()) == 1  # the harness


def test_an_unknown_instruction_set_reaches_no_compiler(counting):
    make, calls = counting
    with pytest.raises(KeyError):
        Kernels(make()).build([Kernel.from_design(DESIGN | {"isa": "-o elsewhere"})])
    assert len(calls()) == 1  # the harness


def test_an_unknown_algorithm_is_not_taken_for_another(real, tmp_path):
    broken = Kernel.from_design(DESIGN | {"algorithm": "unheard_of"})
    assert Kernels(Compiler(tuple(real), "1", tmp_path)).build([broken]).keys() == {broken}


def test_a_space_in_a_folder_is_no_matter(real, tmp_path):
    softmax_is_right(Kernels(Compiler(tuple(real), "1", tmp_path / "a folder; with 'words'")))


# --- what the processor has ---


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (set(), ("scalar",)),
        ({"sse2", "avx"}, ("scalar",)),
        ({"avx2"}, ("scalar",)),
        ({"avx512f", "avx2"}, ("scalar",)),
        ({"avx2", "fma"}, ("scalar", "avx2")),
        ({"avx512f", "avx2", "fma"}, ("scalar", "avx2", "avx512")),
    ],
)
def test_instruction_sets_are_those_that_the_processor_has(monkeypatch, flags, expected):
    monkeypatch.setattr(cpu, "flags", lambda: frozenset(flags))
    assert cpu.instruction_sets() == expected


def test_a_machine_that_does_not_say_what_it_has_runs_scalar_code(monkeypatch):
    monkeypatch.setattr(cpu, "_cpuinfo", lambda entry: "")
    cpu.flags.cache_clear()
    try:
        assert cpu.instruction_sets() == ("scalar",)
    finally:
        cpu.flags.cache_clear()
