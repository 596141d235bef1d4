"""The columns of a bench's table. Each row is one evaluation of one trained network."""

import pyarrow as pa

VERSION = 1
"""Version of the layout. A file of another version is refused."""

FACTS = b"msinet.bench"
"""Key in the metadata of the Parquet schema under which the facts about the table lie, as JSON.

`version`: the layout's version. `code`, `stages`: version of msinet, and schema numbers of the kinds of stages.
`results`: date of the oldest and the newest training. `licence`: terms. `datasets`: by name the specification, the
fingerprints and the numbers of identities and pictures. `recipes`: by the hash in the column `recipe` how the networks
were trained and evaluated. `searches`: by the keys in `found_by` source, split, seed and recipe. `spaces`: by name the
settings of each search space. `queries`: by target the identity of each query, in the order of the columns of lists.
`counts`: numbers of rows, genotypes and so on. `variance`: for each group the share of the variance that is the
genotype's.
"""

SCHEMA = pa.schema(
    [
        ("space", pa.string()),  # name of the search space
        ("genotype", pa.string()),  # letters; in other spaces than the paper's after the space's name and a colon
        ("found_by", pa.list_(pa.string())),  # keys of the searches that derived this genotype
        ("source", pa.string()),  # dataset of the training
        ("target", pa.string()),  # dataset of the evaluation
        ("domain", pa.string()),  # in_domain, cross_domain or held_out
        ("recipe", pa.string()),  # hash of all settings of training and evaluation except genotype, seed and data
        ("retrain_seed", pa.int32()),
        ("hours", pa.float32()),  # duration of the training on its device
        ("parameters", pa.int64()),  # without classifiers
        ("gmacs", pa.float32()),  # multiply-accumulates of one picture, in 10⁹
        ("mAP", pa.float64()),  # this score and those below are fractions
        ("rank1", pa.float64()),
        ("rank5", pa.float64()),
        ("rank10", pa.float64()),
        ("mINP", pa.float64()),
        ("average_precision", pa.list_(pa.float32())),  # of each query; nan for a query without a match
        ("first_match_rank", pa.list_(pa.int32())),  # of each query, from 1; −1 for a query without a match
        ("inverse_negative_penalty", pa.list_(pa.float32())),  # of each query, or null if the evaluation kept none
        ("evaluation", pa.string()),  # key of the evaluation in its workspace
    ]
)
PER_QUERY = ("average_precision", "first_match_rank", "inverse_negative_penalty")
"""The columns with a list of one number for each query."""
METRICS = ("mAP", "rank1", "rank5", "rank10", "mINP")
