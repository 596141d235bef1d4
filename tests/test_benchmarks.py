"""The benchmarks run at a tiny size; their timings are nobody's business here."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.exports import LIBRARIES, WITHOUT_EXTRA

from msinet.schemes import SCHEMES

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
IMAGES = ["--batch-size", "8", "--image-size", "32x16"]
SCHEMES_IN_ORDER = ["mixture", *sorted(SCHEMES.keys() - {"mixture"})]
RETRIEVAL = ["--queries", "6", "--gallery", "60", "--dim", "16"]
# Each benchmark with a tiny size, and what it prints without and only with the released code.
TINY = {
    "search_step": (IMAGES, ["search step: ours"], ["search step: released"]),
    "training_step": (
        IMAGES,
        ["training step: ours", "training step, pos_neg: ours"],
        ["training step: released", "training step, pos_neg: released"],
    ),
    "inference": (IMAGES, ["embed: MSINet", "embed: ResNet50"], ["embed: MSINet, released"]),
    "evaluation": (RETRIEVAL, ["embeddings to scores: ours"], ["embeddings to scores: released"]),
    "schemes": (IMAGES, [*(f"search step: {name}" for name in SCHEMES_IN_ORDER), "score of a genotype"], []),
    "reranking": (
        RETRIEVAL,
        ["embeddings to re-ranked scores: ours"],
        ["embeddings to re-ranked distances: released"],
    ),
    "intervals": (
        ["--queries", "600", "--identities", "60"],
        ["interval of mAP: ours", "interval of mAP: SciPy"],
        [],
    ),
    "input_pipeline": (
        [*IMAGES, "--images", "16", "--file-size", "20x12", "--workers", "1"],
        [
            "decode, resize and store: ours, once",
            "in-domain epoch: ours",
            "in-domain epoch: picture by picture",
            "cross-domain epoch: ours",
            "cross-domain epoch: picture by picture",
        ],
        [],
    ),
}
COMMON = ["--repeats", "2", "--threads", "1", "--device", "cpu"]


def rows(output: str) -> list[list[str]]:
    """The cells of the table's lines, of which all are of one width."""
    lines = output.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("what "))
    table = [line for line in lines[start:] if line]
    table = [line for line in table if len(line) == len(table[0])]
    return [re.split(r" {2,}", line) for line in table[1:]]


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a benchmark in this process; what it printed."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    threads = torch.get_num_threads()

    def run(name: str, *arguments: str) -> str:
        runpy.run_path(str(BENCHMARKS / f"{name}.py"))["main"]([*arguments])
        return capsys.readouterr().out

    yield run
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", TINY)
def test_it_prints_an_aligned_table(name, run):
    arguments, expected, _ = TINY[name]
    output = run(name, *arguments, *COMMON)
    assert f"torch {torch.__version__}" in output
    assert "1 of" in output
    assert "repeats 2" in output
    cells = rows(output)
    assert [row[0] for row in cells] == expected
    for what, items, median, spread, rate, macs, *_, ratio in cells:
        fastest, slowest = (float(end.replace(",", "")) for end in spread.split(" to "))
        median, items, rate = (float(cell.replace(",", "")) for cell in (median, items, rate))
        assert fastest <= median <= slowest
        assert median == pytest.approx(1e3 * items / rate, rel=0.05, abs=0.06)
        assert (macs != "-") == what.startswith(("search", "train", "embed:"))
        assert (ratio == "1.00") >= what.endswith(("ours", "mixture"))


def test_a_latency_table_is_compared_with_whole_networks(run):
    output = run("latency_table", *IMAGES, *COMMON, "--genotypes", "5")
    assert len(re.findall(r"^[NGAE]{12} +[\d.]+ +[\d.]+ +-?[\d.]+%$", output, re.MULTILINE)) == 5
    assert "mean error" in output


def test_a_network_gives_the_same_embeddings_in_another_runtime(monkeypatch):
    for library in LIBRARIES:
        pytest.importorskip(library, reason=WITHOUT_EXTRA)
    monkeypatch.syspath_prepend(BENCHMARKS)
    ours = runpy.run_path(str(BENCHMARKS / "inference.py"))["ours"]
    images_BCHW, found = torch.randn(17, 3, 32, 16), []  # two batches of an evaluation
    for runtime in ("torch", "onnxruntime"):
        torch.manual_seed(0)
        _, contender = ours("osnet", images_BCHW, torch.float32, runtime, scales=(3,))
        assert contender.what == f"embed: OSNet{', onnxruntime' if runtime != 'torch' else ''}"
        found.append(torch.nn.functional.normalize(contender.run()))
    torch.testing.assert_close(*found, atol=2e-6, rtol=1e-4)


@pytest.mark.skipif("MSINET_REFERENCE" not in os.environ, reason="needs a checkout of the released code")
@pytest.mark.parametrize("name", [name for name, (_, _, released) in TINY.items() if released])
def test_it_agrees_with_the_released_code(name):
    arguments, ours, released = TINY[name]
    # In a process of its own: on a processor the released code's calls of CUDA are neutralised for good.
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *arguments, *COMMON]
    command += ["--reference", os.environ["MSINET_REFERENCE"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "agreement  " in done.stdout
    assert {row[0] for row in rows(done.stdout)} == {*ours, *released}


def test_a_checkout_must_be_one(run, tmp_path):
    with pytest.raises(SystemExit, match="must be a checkout of vimar-gu/MSINet"):
        run("reranking", *RETRIEVAL, *COMMON, "--reference", str(tmp_path))


def test_results_that_differ_end_a_benchmark(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    require = runpy.run_path(str(BENCHMARKS / "harness.py"))["require"]
    require("a figure", 0.5, 1.0)
    for difference in (1.5, float("nan")):
        with pytest.raises(SystemExit, match="a figure differs by"):
            require("a figure", difference, 1.0)


def test_an_uneven_batch_is_refused(run, capsys):
    with pytest.raises(SystemExit):
        run("training_step", "--batch-size", "30")
    assert "`batch_size` must be a multiple of `num_instances`" in capsys.readouterr().err
