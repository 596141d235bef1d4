"""The benchmark runs at a tiny size; its timings are nobody's business here."""

import re
import runpy
from pathlib import Path

import pytest
import torch

SPEED = Path(__file__).parents[1] / "benchmarks" / "speed.py"


def test_speed_prints_an_aligned_table(capsys):
    main = runpy.run_path(str(SPEED))["main"]
    threads = torch.get_num_threads()
    sizes = ["--batch-size", "8", "--image-size", "32x16", "--queries", "6", "--gallery", "40", "--repeats", "2"]
    try:
        main([*sizes, "--threads", "1", "--device", "cpu"])
    finally:
        torch.set_num_threads(threads)
    description, table = capsys.readouterr().out.split("\n\n")
    assert "1 of" in description
    assert f"torch {torch.__version__}" in description
    assert "batch 8, images 32×16, float32, 2 repeats" in description
    header, *lines = table.splitlines()
    assert [line.split(":")[0] for line in lines] == ["load", "search", "train", "evaluate", "evaluate"]
    assert {len(line) for line in lines} == {len(header)}
    cells = [re.split(r" {2,}", line) for line in lines]
    assert [row[1] for row in cells] == ["16", "16", "8", "16", "6"]
    for what, items, median, spread, rate, macs in cells:
        fastest, slowest = (float(end.replace(",", "")) for end in spread.split(" to "))
        assert fastest <= float(median.replace(",", "")) <= slowest
        expected_ms = 1e3 * float(items) / float(rate.replace(",", ""))
        assert float(median.replace(",", "")) == pytest.approx(expected_ms, rel=0.02, abs=0.06)
        assert (macs != "-") == what.startswith(("search", "train", "evaluate: embed"))


def test_speed_refuses_an_uneven_batch(capsys):
    main = runpy.run_path(str(SPEED))["main"]
    with pytest.raises(SystemExit):
        main(["--batch-size", "30"])
    assert "`batch_size` must be a multiple of `num_instances`" in capsys.readouterr().err
