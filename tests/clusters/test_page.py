"""The page `clusters/README.md` names each file, and all of its commands have the options that are used."""

import re
import shlex
import subprocess
import textwrap
from typing import Any

import yaml
from support.clusters import CLUSTERS, LAUNCHERS, README, ROOT, commands, load, ray_starts, section

from pipeline.config.resources import Resources


def test_the_page_names_each_file_with_its_three_commands() -> None:
    for path in sorted(CLUSTERS.rglob("*.*")):
        assert path.name in README or path.name == "README.md", path
    submit = "ray job submit --address http://127.0.0.1:8265 --working-dir . -- python pipeline/run_grid.py"
    gpu_demo = f"{submit} clusters/demo_gpu.yaml"
    expected = {
        "One machine with several GPUs": [
            "ray start --head --dashboard-host=127.0.0.1",
            f"{submit} configs/demo.yaml",
            "ray stop",
        ],
        "AWS": ["ray up -y clusters/aws.yaml", gpu_demo, "ray down -y clusters/aws.yaml"],
        "Google Cloud": ["ray up -y clusters/gcp.yaml", gpu_demo, "ray down -y clusters/gcp.yaml"],
        "Kubernetes": [
            "kubectl apply -f clusters/kuberay_base.yaml",
            "kubectl apply -f clusters/kuberay.yaml",
            "kubectl delete -f clusters/kuberay.yaml",
        ],
    }
    for title, three in expected.items():
        given = [" ".join(words) for words in commands(section(title))]
        assert [line for line in given if line in three] == three
        assert [f"# {what}" in section(title) for what in ("launch", "submit", "tear down")] == [True] * 3
    for path in re.findall(r"(?:clusters|configs|pipeline)/[\w./-]*\w", README):
        assert (ROOT / path).exists(), path


def test_rays_commands_have_the_options_that_are_used() -> None:
    from ray.scripts.scripts import cli

    lines = [words for words in commands(README) if words[0] == "ray"]
    for name in LAUNCHERS:
        for start in ray_starts(load(name)).values():
            lines.append(shlex.split(start[start.index("ray start") :]))
    assert len(lines) >= 14
    for _, *words in lines:
        command: Any = cli
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context(command.name, [word for word in words if word not in (">", "/dev/null")])


def test_shell_commands_parse() -> None:
    scripts = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for name in LAUNCHERS:
        document = load(name)
        scripts += [line for key, lines in document.items() if key.endswith("commands") for line in lines]
    assert len(scripts) > 30
    for script in scripts:
        parsed = subprocess.run(["bash", "-n", "-c", script], capture_output=True, text=True, check=False)
        assert parsed.returncode == 0, parsed.stderr


def test_mlflows_server_has_the_options_that_are_used() -> None:
    from mlflow.cli import cli

    lines = [
        line[line.index("mlflow server") :].rstrip("; }")
        for name in LAUNCHERS
        for line in load(name)["head_setup_commands"]
        if "mlflow server" in line
    ]
    (server,) = [item for item in load("kuberay_base.yaml") if item["kind"] == "Deployment"]
    container = server["spec"]["template"]["spec"]["containers"][0]
    lines.append(shlex.join(container["command"] + container["args"]))
    for line in lines:
        arguments = cli.commands["server"].make_context("server", shlex.split(line)[2:]).params
        assert arguments["port"] == 5000
        assert arguments["workers"] == "1"
        assert "localhost:5000" in arguments["allowed_hosts"].split(",")
        assert arguments["backend_store_uri"].startswith("sqlite:////")


def test_the_shares_that_the_page_shows_are_read() -> None:
    (snippet,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    shares = Resources.model_validate(yaml.safe_load(textwrap.dedent("  " + snippet.strip()))["resources"])
    assert shares.search.gpus == shares.retrain.gpus == shares.evaluate.gpus == 1
