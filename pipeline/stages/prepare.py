"""The stage `prepare`: a dataset in shards, with its fingerprint."""

from msinet.data import synthetic
from msinet.data.combined import combined_pictures
from msinet.data.dataset import FIXED
from msinet.data.packed import gather_source, write_shards
from msinet.data.readers import read
from pipeline.plan.kinds import PARTS, SHARDS
from pipeline.plan.preflight import signature
from pipeline.results import Result
from pipeline.stages.inputs import packed_dataset
from pipeline.stages.task import Context


def run(context: Context) -> Result:
    """Write a dataset into shards of original bytes, with its fingerprint."""

    dataset = dict(context.spec["dataset"])
    kind = dataset.pop("kind")
    if kind == "synthetic":
        dataset.pop("renderer")
        items, protocol = synthetic.render(synthetic.SyntheticSpec(**dataset)), FIXED
    elif kind == "combined":
        parts = [packed_dataset(context, role) for role in PARTS if role in context.task.inputs]
        items, protocol = combined_pictures(parts), FIXED
    else:
        found = read(kind, context.task.location["path"])
        items, protocol = gather_source(found), found.protocol
    summary = {**write_shards(items, context.out / SHARDS), "protocol": protocol}
    if summary["fingerprint"] != dataset.get("fingerprint", summary["fingerprint"]):
        context.workspace.forget_fingerprint(signature(found))
        raise ValueError(
            f"a dataset must not change after its check, but {context.task.location['path']} did: run again, which "
            "checks it again."
        )
    return summary
