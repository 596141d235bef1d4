"""Weights from elsewhere: released MSINet checkpoints, torchvision's ResNet-50, torchreid's OSNet."""

from msinet.interop.released import load_released
from msinet.interop.start import StartReport, load_start
from msinet.interop.state_dicts import read_state_dict

__all__ = ["StartReport", "load_released", "load_start", "read_state_dict"]
