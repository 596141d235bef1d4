"""What each kind of stage does, on one device: from a specification and published inputs to files and a result.

`execute` is all that Ray runs; it needs no Ray itself.
"""

import contextlib
import json
import logging
import os
import re
import shutil
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pipeline.plan.kinds import EMBEDDING, GENOTYPE, HISTORY, PER_QUERY, PICTURES, SHARDS, SPLIT, WEIGHTS
from pipeline.plan.stage import Plan, content_of, network_options
from pipeline.results import Ended, Report, Result
from pipeline.storage import leases
from pipeline.storage.workspace import Attempt, Workspace, stage_place

T = TypeVar("T")


log = logging.getLogger(__name__)

# What CUDA and its libraries say where torch's own allocator was not asked, and so raises no OutOfMemoryError.
NO_ROOM = re.compile(r"CUDA error: out of memory|CU[A-Z]+_STATUS_\w*ALLOC\w*_FAILED")


@dataclass(frozen=True)
class Task:
    """One stage, ready to run.

    Attributes:
        kind, key, spec: What to compute; `spec` decides the result.
        inputs: Published results that it uses, by role.
        location: Where a disk dataset lies.
        checkpoint_every: Seconds between saved states.
        lease_seconds: How long another driver waits before it takes the stage over from one that has died.
        share: What each of several workers occupies, as Ray names it: `num_cpus`, `num_gpus`.
    """

    kind: str
    key: str
    spec: dict[str, Any]
    inputs: dict[str, Result] = field(default_factory=dict)
    location: dict[str, str] = field(default_factory=dict)
    checkpoint_every: float = 60.0
    lease_seconds: float = 60.0
    share: dict[str, float] = field(default_factory=dict)


class Stopped(Exception):
    """This process has to end; the state is saved."""


@dataclass(frozen=True)
class Context:
    """A task and where it runs.

    Attributes:
        task: What to do.
        workspace: Where its inputs lie and its state goes.
        attempt: Where its files go.
        report: Called with each epoch's report.
        stop: Whether the process has to end: then the state is saved after the step that runs.
        after_epoch: As of `execute`.
        ranks: This process among those that share the stage (`msinet.ranks.Ranks`), None where it is alone.
    """

    task: Task
    workspace: Workspace
    attempt: Attempt
    report: Callable[[Report], None]
    stop: Callable[[], bool]
    after_epoch: "AfterEpoch | None" = None
    ranks: Any = None

    @property
    def spec(self) -> dict[str, Any]:
        """What decides the result."""
        return self.task.spec

    def folder(self, role: str) -> Path:
        """The files of an input."""
        return self.workspace.files(self.task.inputs[role])

    @property
    def cache(self) -> Path:
        """Decoded pictures, which any stage may reuse and anybody may delete."""
        return self.workspace.cache


# Called with the context, the loop, and what saves its state.
AfterEpoch = Callable[[Context, Any, Callable[[], None]], None]


def execute(
    address: str,
    task: Task,
    report: Callable[[Report], None],
    holder: str = "",
    after_epoch: AfterEpoch | None = None,
    notice: Callable[[], bool] = lambda: False,
) -> Ended:
    """Run a stage and publish its result; an error is recorded and returned, not raised.

    Args:
        address: Of the workspace.
        task: What to do.
        report: Called with each epoch's report.
        holder: Who asks for it, and holds the stage's lease meanwhile; the same for all attempts of one driver.
        after_epoch: May look at the network after each epoch of a search or a training, without changing anything.
        notice: Whether this machine is about to be taken away; asked after every step.

    Returns:
        `{"result": …}`; `{"failure": {"message", "traceback", "log", "retry"}}`, where `retry` is `"again"` for what
        may pass by itself, `"alone"` for a GPU without room, or None; `{"stopped": True}` after SIGTERM or a notice;
        or `{"held": holder}` while another driver works at the stage.
    """
    workspace = Workspace(address)
    published = workspace.result(task.kind, task.key)
    if published is not None:
        return {"result": published}
    place = f"{stage_place(task.kind, task.key)}/leases"
    lease = leases.take(workspace.store, place, holder or uuid.uuid4().hex, task.lease_seconds)
    if lease is None:
        return {"held": leases.holder_of(workspace.store, place)}
    with lease, _stop_on_sigterm() as stop:
        published = workspace.result(task.kind, task.key)  # by who held the lease until just now
        if published is not None:
            return {"result": published}
        if task.spec.get("workers", 1) > 1:
            from pipeline.groups import run_group

            return run_group(workspace, task, report)
        return run_attempt(workspace, task, report, lambda: stop.is_set() or notice(), after_epoch)


def run_attempt(
    workspace: Workspace,
    task: Task,
    report: Callable[[Report], None],
    stop: Callable[[], bool],
    after_epoch: AfterEpoch | None = None,
    ranks: Any = None,
) -> Ended:
    """One try at a stage whose lease is held, here or as one of several ranks; as `execute`.

    Returns:
        As `execute`; of ranks the first publishes, the others return `{}`.
    """
    tail = LogTail()
    attempt = workspace.begin(task.kind, task.key)
    started = time.time()
    try:
        part = RUN[task.kind](Context(task, workspace, attempt, report, stop, after_epoch, ranks))
        if ranks and ranks.rank > 0:
            shutil.rmtree(attempt.folder)
            return {}
        result = {**part, "spec": task.spec, "started": started, "seconds": time.time() - started}
        return {"result": workspace.publish(attempt, result)}
    except Stopped:
        return {"stopped": True}
    except Exception as error:
        failure = {
            "message": f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc(),
            "log": tail.read(),
            "retry": _remedy(error),
            "time": time.time(),
        }
        with contextlib.suppress(OSError):  # the store may be what failed
            workspace.record_failure(attempt, failure)
        return {"failure": failure}


def _remedy(error: Exception) -> str | None:
    """What may help against an error: nothing against a bug or bad data."""
    # A host without memory kills the process: these are of a GPU.
    if type(error).__name__ == "OutOfMemoryError" or (isinstance(error, RuntimeError) and NO_ROOM.search(f"{error}")):
        return "alone"
    return "again" if isinstance(error, OSError) else None


@contextlib.contextmanager
def _stop_on_sigterm() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, in the thread that receives signals."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


class LogTail:
    """What this process has written to its log files since now: Ray gives each worker files of its own."""

    LENGTH = 8000

    def __init__(self) -> None:
        files = [path for path in map(Path, ("/proc/self/fd/1", "/proc/self/fd/2")) if path.is_file()]
        if len(files) == 2 and files[0].samefile(files[1]):
            files.pop()
        self._starts = {path: path.stat().st_size for path in files}

    def read(self) -> str:
        """The last characters; empty where output goes elsewhere."""
        sys.stdout.flush()
        sys.stderr.flush()
        texts = []
        for path, start in self._starts.items():
            with path.open("rb") as file:
                file.seek(max(start, path.stat().st_size - self.LENGTH))
                texts.append(file.read().decode(errors="replace"))
        return "".join(texts)[-self.LENGTH :]


def run_prepare(context: Context) -> Result:
    """Write a dataset into shards of original bytes, with its fingerprint."""
    from msinet.data import synthetic
    from msinet.data.dataset import FIXED
    from msinet.data.packed import gather_source, write_shards
    from msinet.data.readers import read

    dataset = dict(context.spec["dataset"])
    kind = dataset.pop("kind")
    if kind == "synthetic":
        dataset.pop("renderer")
        items, protocol = synthetic.render(synthetic.SyntheticSpec(**dataset)), FIXED
    else:
        found = read(kind, context.task.location["path"])
        items, protocol = gather_source(found), found.protocol
    summary = {**write_shards(items, context.attempt.folder / SHARDS), "protocol": protocol}
    expected = dataset.get("fingerprint", summary["fingerprint"])
    if summary["fingerprint"] != expected:
        raise ValueError(
            f"a dataset must not change while it is prepared, but {context.task.location['path']} did: run again."
        )
    return summary


def run_search(context: Context) -> Result:
    """Search α on one train/valid split of a source; ends in a genotype."""
    import torch

    from msinet.data.records import label_of
    from msinet.data.splits import save_split
    from msinet.engine.search import Search, search_epochs
    from msinet.models.supernet import Supernet
    from msinet.recipes import SearchRecipe

    spec, device = context.spec, _device(context.spec)
    recipe = _parse(SearchRecipe, spec["recipe"])
    packed = _packed(context, "source_data")
    train, valid, sizes = _divide(context, _records(packed, "train"))
    save_split(context.attempt.folder / SPLIT, train, valid)
    # One classifier serves both sides of the softmax supervision: their labels share one numbering.
    label = label_of([*train, *valid]) if recipe.supervision == "softmax" else None
    torch.manual_seed(spec["seed"])
    supernet = Supernet(num_classes=len(label) if label else None)
    _synchronise(context, supernet, device)
    search = Search(
        supernet,
        _train_batches(context, packed, train, recipe, device, "train", label),
        _train_batches(context, packed, valid, recipe, device, "valid", label),
        recipe,
        device,
        _ranks(context),
    )
    history = _run_epochs(context, search, search_epochs, recipe.epochs)
    _save_weights(context, search.supernet)
    genotype = search.supernet.derive()
    (context.attempt.folder / GENOTYPE).write_text(genotype.to_json(), encoding="utf-8")
    return {
        **_effort(history, recipe),
        "genotype": genotype.letters,
        "alphas": history[-1]["alphas"],
        "split": asdict(sizes),
        "metrics": {"train_loss": history[-1]["train_loss"], "valid_loss": history[-1]["valid_loss"]},
    }


def run_retrain(context: Context) -> Result:
    """Train a network on all training identities of a source, or on those that are not held out."""
    import torch

    from msinet.engine.train import Training, train_epochs
    from msinet.interop import load_start, read_state_dict
    from msinet.models import build_model
    from msinet.recipes import TrainRecipe

    spec, device = context.spec, _device(context.spec)
    recipe = _parse(TrainRecipe, spec["recipe"])
    packed = _packed(context, "source_data")
    records, _ = _held_out(context, packed)
    batches = _train_batches(context, packed, records, recipe, device, "train")
    torch.manual_seed(spec["seed"])
    model = build_model(spec["network"], num_classes=batches.num_classes, **network_options(spec))
    if "start" in spec:
        weights = Path(context.task.location["weights"])
        _require_content(weights, spec["start"])
        load_start(model, read_state_dict(weights))
    _synchronise(context, model, device)
    training = Training(model, batches, recipe, device, _ranks(context))
    history = _run_epochs(context, training, train_epochs, recipe.epochs)
    _save_weights(context, training.model)
    return {
        **_effort(history, recipe),
        "network": spec["network"],
        "options": network_options(spec),
        **network_options(spec),
        "num_classes": batches.num_classes,
        "metrics": {"loss": history[-1]["loss"], "accuracy": history[-1]["accuracy"]},
    }


def run_evaluate(context: Context) -> Result:
    """Rank a target's gallery for each of its queries; the embeddings stay, queries first, each side by path."""
    import safetensors.torch

    from msinet.engine.evaluate import embed, rank_records

    spec, device = context.spec, _device(context.spec)
    trained = context.task.inputs["model"]
    model = _trained(context, "model")
    if "hold_out" in spec:
        scores, per_query = evaluate_held_out(context, model)
        _save_per_query(context.attempt.folder / PER_QUERY, per_query)
        return {"network": trained["network"], **trained["options"], "metrics": scores}
    packed = _packed(context, "target_data")
    records = [*_records(packed, "query"), *_records(packed, "gallery")]
    store = _store(context, "target_data", packed, records)
    embedding_ND = embed(model, store, device, after_neck=spec["after_neck"])
    protocol = spec["target_data"]["protocol"]
    scores, per_query = rank_records(records, embedding_ND, protocol, rerank=False)
    if spec["rerank"]:
        reranked, _ = rank_records(records, embedding_ND, protocol, rerank=True)
        scores |= {f"reranked_{name}": value for name, value in reranked.items()}
    _save_per_query(context.attempt.folder / PER_QUERY, per_query)
    safetensors.torch.save_file({"embedding_ND": embedding_ND.contiguous()}, context.attempt.folder / EMBEDDING)
    return {"network": trained["network"], **trained["options"], "metrics": scores}


def evaluate_held_out(context: Context, model: Any) -> tuple[dict[str, float], dict[str, list[Any]]]:
    """Rank all other held-out training pictures for each of them; scores and their table as of `rank_records`."""
    from msinet.engine.evaluate import embed
    from msinet.engine.held_out import rank_others

    packed = _packed(context, "source_data")
    _, records = _held_out(context, packed)
    store = _store(context, "source_data", packed, records)
    after_neck = context.spec.get("after_neck", False)
    return rank_others(records, embed(model, store, _device(context.spec), after_neck=after_neck))


def run_picture(context: Context) -> Result:
    """Draw the ranked lists and activation maps of two networks on the queries where they differ most."""
    import safetensors.torch

    from msinet.visual.comparison import compare

    spec, device = context.spec, _device(context.spec)
    models = [_trained(context, role) for role in ("model", "other_model")]
    embeddings = [
        safetensors.torch.load_file(context.folder(role) / EMBEDDING)["embedding_ND"]
        for role in ("evaluation", "other_evaluation")
    ]
    shown = dict(zip(spec["names"], zip(models, embeddings, strict=True), strict=True))
    packed = _packed(context, "target_data")
    indices = [*packed.subset("query"), *packed.subset("gallery")]
    store = _store(context, "target_data", packed, [packed.records[index] for index in indices])
    protocol = spec["target_data"]["protocol"]
    drawn = compare(shown, packed, indices, store, protocol, device)
    for name, picture in zip(PICTURES, drawn, strict=True):
        picture.save(context.attempt.folder / name)
    return {}


def pictures(plan: Plan, workspace: Workspace) -> list[tuple[str, bytes]]:
    """Captions and PNGs of a plan's pictures that are drawn."""
    return [
        (f"{stage.name.removeprefix('picture ')}: {name.removesuffix('.png').replace('_', ' ')}", path.read_bytes())
        for stage in plan.of_kind("picture")
        if stage.result is not None
        for name in PICTURES
        for path in [workspace.file(stage.result, name)]
        if path
    ]


def run_measure(context: Context) -> Result:
    """Time a network on the device that the specification names."""
    from msinet.engine.measure import device_name, measure
    from msinet.models import build_model

    spec, device = context.spec, _device(context.spec)
    if (found := device_name(device)) != spec["device"]:
        raise ValueError(f"this measurement must run on {spec['device']!r}, but was placed on {found!r}.")
    model = build_model(spec["network"], num_classes=0, **network_options(spec))
    batch_size = spec.get("batch_size") or (64 if device.type == "cuda" else 8)
    figures = measure(model, tuple(spec["image_size"]), device, batch_size)
    return {"network": spec["network"], **network_options(spec), "metrics": {**figures, "batch_size": batch_size}}


RUN: dict[str, Callable[[Context], Result]] = {
    "prepare": run_prepare,
    "search": run_search,
    "retrain": run_retrain,
    "evaluate": run_evaluate,
    "measure": run_measure,
    "picture": run_picture,
}


def _device(spec: dict[str, Any]) -> Any:
    import torch

    torch.set_num_threads(spec["threads"])
    # Ray's own helper names cuda:0 also on machines without one.
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _parse(recipe: type[T], values: dict[str, Any]) -> T:
    from pydantic import TypeAdapter

    return TypeAdapter(recipe).validate_python(values)


def _trained(context: Context, role: str) -> Any:
    """The network of a retraining, with its weights."""
    import safetensors.torch

    from msinet.models import build_model

    trained = context.task.inputs[role]
    model = build_model(trained["network"], num_classes=trained["num_classes"], **trained["options"])
    model.load_state_dict(safetensors.torch.load_file(context.folder(role) / WEIGHTS))
    return model


def _packed(context: Context, role: str) -> Any:
    from msinet.data.packed import PackedDataset

    return PackedDataset(context.folder(role) / SHARDS)


def _records(packed: Any, subset: str) -> list[Any]:
    return [packed.records[index] for index in packed.subset(subset)]


def _held_out(context: Context, packed: Any) -> tuple[list[Any], list[Any]]:
    """Training records of a source that a network sees, and those of the last identities, which it does not."""
    from msinet.data.splits import identity_split

    records = _records(packed, "train")
    percent = context.spec.get("hold_out")
    return identity_split(records, 100 - percent, percent) if percent else (records, [])


def _store(context: Context, role: str, packed: Any, records: Any) -> Any:
    """The decoded pictures of some records, at the specification's size."""
    from msinet.data.packed import ImageStore

    # One file for each kind of records, which every split and every retraining shares.
    indices = [i for subset in dict.fromkeys(record.subset for record in records) for i in packed.subset(subset)]
    store = ImageStore.open(
        packed,
        indices,
        tuple(context.spec["image_size"]),
        context.cache,
        context.task.inputs[role]["fingerprint"],
    )
    position = {packed.records[index].path: position for position, index in enumerate(indices)}
    return store.subset([position[record.path] for record in records])


def _train_batches(
    context: Context, packed: Any, records: Any, recipe: Any, device: Any, stream: str, label: Any = None
) -> Any:
    """P×K batches of the given training records, augmented on the device.

    `label` numbers more identities than these; by default these are numbered among themselves.
    """
    from msinet.data.loaders import TrainBatches
    from msinet.data.records import label_of
    from msinet.data.samplers import IdentityBatches

    num_classes = len(label) if label else None
    label = label or label_of(records)
    labels = [label[record.pid] for record in records]
    store = _store(context, "source_data", packed, records)
    seed = context.spec["seed"]
    sampler = IdentityBatches(labels, recipe.num_ids, recipe.num_instances, seed, stream)
    ranks = _ranks(context)
    return TrainBatches(store, labels, sampler, recipe.augmentation, seed, device, stream, num_classes, ranks)


def _ranks(context: Context) -> Any:
    from msinet.ranks import ALONE

    return context.ranks or ALONE


def _synchronise(context: Context, network: Any, device: Any) -> None:
    """The option of several ranks that batch norms see the whole batch."""
    from msinet.ranks import synchronise_batch_norm

    if context.spec.get("sync_batch_norm"):
        synchronise_batch_norm(network, _ranks(context), device)


def _run_epochs(
    context: Context, loop: Any, epochs: Callable[[Any, Callable[[], None]], Iterator[Any]], total: int
) -> list[Report]:
    """Run a loop to its end, from the newest state that any attempt saved; the history of all its epochs."""
    from msinet.engine.state import load_state, save_state

    history: list[Report] = []
    for place in _agreed(context, context.workspace.checkpoints(context.task.kind, context.task.key)):
        try:
            with context.workspace.checkpoint(place) as path:
                state = load_state(path)
        except (OSError, ValueError):
            continue  # its attempt has just ended, or it is damaged: an older one does too
        loop.load_state_dict(state["loop"])
        history = [json.loads(line) for line in state["history"]]
        break
    saved = time.monotonic()

    def save() -> None:
        nonlocal saved
        state = {"loop": loop.state_dict(), "history": [json.dumps(line) for line in history]}
        context.workspace.save_checkpoint(context.attempt, lambda path: save_state(path, state))
        saved = time.monotonic()

    def save_if_possible(ending: bool) -> None:
        nonlocal saved
        try:
            save()
        except OSError as error:
            if ending:  # nothing is lost by starting again from the state before
                raise
            saved = time.monotonic()  # the next try is due as the next state would be
            log.warning(
                "the state of %s %s was not saved, training goes on: %s", context.task.kind, context.task.key, error
            )

    def after_step() -> None:
        if context.ranks and context.ranks.rank > 0:
            return  # their states are equal
        ending = context.stop()
        if ending or time.monotonic() - saved >= context.task.checkpoint_every:
            save_if_possible(ending)
        if ending:
            raise Stopped

    for report in epochs(loop, after_step):
        history.append(_plain(report))
        context.report({**history[-1], "epochs": total, "pid": os.getpid()})
        if context.after_epoch:
            context.after_epoch(context, loop, save)
        after_step()
    text = "".join(json.dumps(line) + "\n" for line in history)
    (context.attempt.folder / HISTORY).write_text(text, encoding="utf-8")
    return history


def _agreed(context: Context, places: list[str]) -> list[str]:
    """What the first rank found: another may look a moment later."""
    if not context.ranks:
        return places
    from torch import distributed

    told = [places]
    distributed.broadcast_object_list(told, src=0)
    return told[0]


def _effort(history: list[Report], recipe: Any) -> Result:
    """Training images seen and the seconds that took: what later plans estimate from."""
    return {
        "images": recipe.batch_size * sum(line["steps"] for line in history),
        "train_seconds": sum(line["seconds"] for line in history),
    }


def _plain(report: Any) -> Report:
    """A report as JSON holds it."""
    values = asdict(report)
    if "genotype" in values:
        values["genotype"] = report.genotype.letters
    return values


def _save_weights(context: Context, model: Any) -> None:
    import safetensors.torch

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    partial = context.attempt.folder / f"{WEIGHTS}.{os.getpid()}.partial"
    safetensors.torch.save_file(state, partial)
    partial.replace(context.attempt.folder / WEIGHTS)


def _save_per_query(path: Path, per_query: dict[str, list[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(per_query), path)


def _divide(context: Context, records: list[Any]) -> tuple[list[Any], list[Any], Any]:
    """Both sides of the specification's split of training records, and their sizes."""
    from msinet.data.splits import identity_split, load_split, parse_split, saved_split_report, split_report

    split = context.spec["split"]
    if isinstance(split, dict):
        file = Path(context.task.location["split"])
        _require_content(file, split["file"])
        sides = load_split(file, records)
        return *sides, saved_split_report(*sides)
    percents, split_seed = parse_split(split), context.spec["split_seed"]
    sides = identity_split(records, *percents, split_seed=split_seed)
    return *sides, split_report(records, *percents, split_seed=split_seed)


def _require_content(path: Path, expected: str) -> None:
    if content_of(path) != expected:
        raise ValueError(f"a file must not change while a grid runs, but {path} did: run again.")
