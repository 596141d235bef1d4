"""The stage `score`: a genotype under the shared weights of a supernet, without training."""

import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch

from msinet.data.loaders import eval_batches
from msinet.data.splits import load_split
from msinet.engine.evaluate import embed
from msinet.engine.held_out import rank_others
from msinet.engine.shared_weights import BATCH, MOST_PICTURES, SharedWeights, reestimate_batch_norms
from msinet.genotype import Genotype
from msinet.models.supernet import Supernet
from msinet.spaces import as_space
from pipeline.plan.kinds import PER_QUERY, SPLIT, WEIGHTS
from pipeline.results import Result
from pipeline.stages.inputs import device_of, image_store, packed_dataset, records_of
from pipeline.stages.task import Context


def run(context: Context) -> Result:
    """Rank the pictures of the search's validation side, each against all others, with a genotype's shared weights.

    The supernet's weights were trained on the other side of the split. From that side the batch norms are estimated
    anew for the genotype.
    """
    spec, device = context.spec, device_of(context.spec)
    searched = context.folder("supernet")
    weights = safetensors.torch.load_file(searched / WEIGHTS)
    space = as_space(spec.get("space"))
    classes = len(weights["classifier.weight"]) if "classifier.weight" in weights else None
    supernet = Supernet(classes, space=space)
    supernet.load_state_dict(weights)
    network = SharedWeights(supernet, Genotype.parse(spec["genotype"], space)).to(device)
    packed = packed_dataset(context, "source_data")
    train, valid = load_split(searched / SPLIT, records_of(packed, "train"))
    spread = train[:: max(1, -(-len(train) // MOST_PICTURES))]
    seen = image_store(context, "source_data", packed, spread[: max(BATCH, len(spread) // BATCH * BATCH)])
    reestimate_batch_norms(network, eval_batches(seen, BATCH, device))
    scores, per_query = rank_others(valid, embed(network, image_store(context, "source_data", packed, valid), device))
    pq.write_table(pa.table(per_query), context.out / PER_QUERY)
    return {"network": "msinet", "genotype": spec["genotype"], "metrics": scores}
