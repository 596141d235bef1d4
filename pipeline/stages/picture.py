"""The stage `picture`: two networks side by side, query by query."""

import safetensors.torch

from msinet.visual.comparison import compare
from pipeline.plan.kinds import EMBEDDING, PICTURES
from pipeline.results import Result
from pipeline.stages.inputs import device_of, image_store, packed_dataset, trained_network
from pipeline.stages.task import Context


def run(context: Context) -> Result:
    """Draw the ranked lists and activation maps of two networks on the queries where they differ most."""

    spec, device = context.spec, device_of(context.spec)
    models = [trained_network(context, role) for role in ("model", "other_model")]
    embeddings = [
        safetensors.torch.load_file(context.folder(role) / EMBEDDING)["embedding_ND"]
        for role in ("evaluation", "other_evaluation")
    ]
    shown = dict(zip(spec["names"], zip(models, embeddings, strict=True), strict=True))
    packed = packed_dataset(context, "target_data")
    indices = [*packed.subset("query"), *packed.subset("gallery")]
    store = image_store(context, "target_data", packed, [packed.records[index] for index in indices])
    protocol = spec["target_data"]["protocol"]
    drawn = compare(shown, packed, indices, store, protocol, device)
    for name, picture in zip(PICTURES, drawn, strict=True):
        picture.save(context.out / name)
    return {}
