"""The operations that a space can offer: their names, and their letters in genotypes."""

from types import MappingProxyType

LETTER_OF = MappingProxyType(
    {
        "none": "N",
        "channel_gate": "G",
        "cross_attention": "A",
        "exchange": "E",
        "sum": "S",
        "concat_project": "C",
        "spatial_gate": "P",
        "to_larger": "L",
        "to_smaller": "M",
    }
)
"""The letter of each operation. Their order is that of α's columns; `msinet.models.interactions` says what they do."""

OPERATION_OF = MappingProxyType({letter: operation for operation, letter in LETTER_OF.items()})

PAPER_OPERATIONS = ("none", "channel_gate", "cross_attention", "exchange")
"""The operations of MSINet (Gu et al., CVPR 2023)."""
