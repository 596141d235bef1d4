"""Weights from elsewhere: released MSINet checkpoints, torchvision's ResNet-50, torchreid's OSNet."""

from msinet.interop.card import Card, read_card
from msinet.interop.released import load_released
from msinet.interop.start import StartReport, load_start
from msinet.interop.state_dicts import read_state_dict

__all__ = ["Card", "StartReport", "load_released", "load_start", "read_card", "read_state_dict"]
