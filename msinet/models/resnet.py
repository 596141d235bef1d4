"""ResNet-50 as a strong baseline. Letters: B batch, C channels, H×W map, D embedding.

The backbone's submodules have torchvision's names, so that its ImageNet weights can be loaded.
"""

from torch import Tensor, nn
from torch.nn.functional import relu

from msinet.models.layers import Outputs, global_pool, initialise, neck

EXPANSION = 4


class Bottleneck(nn.Module):
    """A 1×1, a 3×3 (with the stride) and a 1×1 convolution, each with batch norm; the input is added."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = EXPANSION * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = relu(self.bn1(self.conv1(x_BCHW)), inplace=True)
        y_BCHW = relu(self.bn2(self.conv2(y_BCHW)), inplace=True)
        y_BCHW = self.bn3(self.conv3(y_BCHW))
        shortcut_BCHW = x_BCHW if self.downsample is None else self.downsample(x_BCHW)
        return relu(y_BCHW + shortcut_BCHW, inplace=True)


class ResNetBackbone(nn.Module):
    """ResNet-50 up to its last map; its last stage has stride 1 (He et al., CVPR 2016; Luo et al., CVPRW 2019)."""

    out_channels = 2048

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(64, 64, blocks=3, stride=1)
        self.layer2 = _stage(256, 128, blocks=4, stride=2)
        self.layer3 = _stage(512, 256, blocks=6, stride=2)
        self.layer4 = _stage(1024, 512, blocks=3, stride=1)

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the maps of the last three stages: B×512×H/8×W/8, B×1024×H/16×W/16, B×2048×H/16×W/16."""
        x_BCHW = self.maxpool(relu(self.bn1(self.conv1(images_BCHW)), inplace=True))
        second_BCHW = self.layer2(self.layer1(x_BCHW))
        third_BCHW = self.layer3(second_BCHW)
        return second_BCHW, third_BCHW, self.layer4(third_BCHW)


class ResNet50(nn.Module):
    """ResNet-50 with one head: the mean of the last map, a neck, and a classifier without bias (BNNeck).

    Args:
        num_classes: Number of identities that the classifier distinguishes.

    Attributes:
        map_channels: Number of channels of the last map, 2048.
    """

    map_channels = ResNetBackbone.out_channels

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.backbone = ResNetBackbone()
        self.neck = neck(ResNetBackbone.out_channels)
        self.classifier = nn.Linear(ResNetBackbone.out_channels, num_classes, bias=False)
        initialise(self, linear_std=0.001)

    def forward(self, images_BCHW: Tensor) -> Outputs:
        """Return the head's feature and logits, and the maps of the last three stages."""
        maps = self.backbone(images_BCHW)
        feature_BD = global_pool(maps[-1])
        return Outputs((feature_BD,), (self.classifier(self.neck(feature_BD)),), maps)

    def feature_map(self, images_BCHW: Tensor) -> Tensor:
        """Return the last map, B×2048×H/16×W/16."""
        return self.backbone(images_BCHW)[-1]

    def embed(self, images_BCHW: Tensor, after_neck: bool = False) -> Tensor:
        """Return the retrieval embedding, B×2048, not normalised. Use it in evaluation mode.

        Args:
            images_BCHW: Normalised images.
            after_neck: Take the feature after the neck.
        """
        feature_BD = global_pool(self.feature_map(images_BCHW))
        return self.neck(feature_BD) if after_neck else feature_BD


def _stage(in_channels: int, channels: int, *, blocks: int, stride: int) -> nn.Sequential:
    rest = [Bottleneck(EXPANSION * channels, channels) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(in_channels, channels, stride), *rest)
